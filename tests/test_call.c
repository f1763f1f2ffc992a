/* Scheduled calls: their order; handles moved and cancelled in every state and from everywhere. */
#include "support.h"

static loop_t *loop;
static loop_handle_t one, two, three;

static void setup(void)
{
    static const loop_handle_t idle;
    loop = open_loop();
    one = two = three = idle;
}

static void finish(const char *expected)
{
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), expected);
    assert_string_equal(reported(), "");
    assert_int_equal(close_loop(loop), 0);
}

static void say(void *word)
{
    trace("%s", (const char *)word);
}

static void soon(char *word, loop_handle_t *handle)
{
    assert_int_equal(loop_call_soon(loop, say, word, handle), 0);
}

static void later(int64_t ms, char *word, loop_handle_t *handle)
{
    assert_int_equal(loop_call_later(loop, ms, say, word, handle), 0);
}

/* --- Order ------------------------------------------------------------------------------------ */

static void calls_run_first_in_first_out(void **state)
{
    (void)state;
    setup();
    soon("a", NULL);
    soon("b", &one);
    soon("c", NULL);
    soon("d", &two);
    finish("a b c d");
}

static void timers_run_by_deadline_and_ties_in_the_order_they_were_set(void **state)
{
    (void)state;
    setup();
    int64_t start = loop_time(loop);
    later(20, "c", NULL);
    later(10, "a", &one);
    assert_int_equal(loop_call_at(loop, start + 20 * MS, say, "d", NULL), 0);
    later(10, "b", &two);
    assert_int_equal(loop_call_at(loop, start + 20 * MS, say, "e", &three), 0);
    finish("a b c d e");
}

static void timers_due_together_after_a_stall_still_run_by_deadline(void **state)
{
    (void)state;
    setup();
    int64_t past = loop_time(loop);
    assert_int_equal(loop_call_at(loop, past - 1, say, "b", NULL), 0);
    assert_int_equal(loop_call_at(loop, past - 2, say, "a", NULL), 0);
    assert_int_equal(loop_call_at(loop, past, say, "c", NULL), 0);
    finish("a b c");
}

static void say_and_count_passes(void *word)
{
    loop_stats_t stats;
    loop_stats(loop, &stats);
    trace("%s%d", (const char *)word, (int)stats.passes);
}

static void spread(void *word)
{
    say_and_count_passes(word);
    assert_int_equal(loop_call_soon(loop, say_and_count_passes, "new", NULL), 0);
}

static void what_is_scheduled_in_a_pass_runs_in_the_next_one(void **state)
{
    (void)state;
    setup();
    assert_int_equal(loop_call_soon(loop, spread, "a", NULL), 0);
    assert_int_equal(loop_call_soon(loop, spread, "b", NULL), 0);
    finish("a1 b1 new2 new2");
}

static int left;

static void again(void *arg)
{
    (void)arg;
    if (left-- > 0)
        assert_int_equal(loop_call_soon(loop, again, NULL, NULL), 0);
}

static void stop_again(void *arg)
{
    (void)arg;
    trace("timer");
    left = 0;
}

static void work_that_schedules_more_work_does_not_starve_timers(void **state)
{
    (void)state;
    loop = open_real_loop();
    trace_clear();
    left = INT32_MAX;
    assert_int_equal(loop_call_soon(loop, again, NULL, NULL), 0);
    assert_int_equal(loop_call_later(loop, 5, stop_again, NULL, NULL), 0);
    finish("timer");
}

static void pass_it_on(void *arg)
{
    int depth = *(int *)arg;
    char *const words[] = {"0", "1", "2"};
    say(words[depth]);
    if (++*(int *)arg < 3)
        assert_int_equal(loop_call_soon(loop, pass_it_on, arg, &one), 0);
}

static void a_handle_may_be_scheduled_again_by_its_own_callback(void **state)
{
    (void)state;
    int depth = 0;
    setup();
    assert_int_equal(loop_call_soon(loop, pass_it_on, &depth, &one), 0);
    finish("0 1 2");
}

static void free_handle(void *handle)
{
    trace("freed");
    free(handle);
}

static void a_handle_may_be_freed_by_its_own_callback(void **state)
{
    (void)state;
    setup();
    loop_handle_t *handle = calloc(1, sizeof *handle), *timed = calloc(1, sizeof *timed);
    assert_int_equal(loop_call_soon(loop, free_handle, handle, handle), 0);
    assert_int_equal(loop_call_later(loop, 1, free_handle, timed, timed), 0);
    finish("freed freed");
}

/* --- Moving ----------------------------------------------------------------------------------- */

static void scheduling_a_ready_handle_moves_it_to_the_end_of_the_queue(void **state)
{
    (void)state;
    setup();
    soon("a", &one);
    soon("b", &two);
    soon("c", &one);
    finish("b c");
}

static void a_ready_handle_becomes_a_timer_and_back(void **state)
{
    (void)state;
    setup();
    soon("no", &one);
    later(10, "late", &one);
    later(10, "no", &two);
    soon("early", &two);
    finish("early late");
}

static void a_timer_moves_to_an_earlier_and_to_a_later_time(void **state)
{
    (void)state;
    setup();
    later(10, "no", &one);
    later(20, "b", &two);
    later(30, "no", &three);
    later(30, "c", &one);
    later(5, "a", &three);
    finish("a b c");
}

static void a_timer_set_anew_to_the_same_time_goes_behind_its_ties(void **state)
{
    (void)state;
    setup();
    later(10, "b", &one);
    later(10, "a", &two);
    later(10, "b", &one);
    finish("a b");
}

static void a_handle_moves_to_another_loop(void **state)
{
    (void)state;
    setup();
    loop_t *other = loop_new(&(loop_options_t){.virtual_time = true});
    later(10, "no", &one);
    soon("no", &two);
    assert_int_equal(loop_call_later(other, 10, say, "b", &one), 0);
    assert_int_equal(loop_call_soon(other, say, "a", &two), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "");
    assert_int_equal(loop_run(other), 0);
    assert_int_equal(loop_close(other), 0);
    finish("a b");
}

/* Items of the pass at hand may still be moved: `one` runs first and sends the others away. */
static void move_the_others(void *arg)
{
    (void)arg;
    trace("mover");
    soon("two", &two);
    later(1, "three", &three);
}

static void an_item_of_the_pass_at_hand_can_be_moved_out_of_it(void **state)
{
    (void)state;
    setup();
    assert_int_equal(loop_call_soon(loop, move_the_others, NULL, &one), 0);
    soon("no", &two);
    soon("no", &three);
    soon("last", NULL);
    finish("mover last two three");
}

/* --- Cancelling ------------------------------------------------------------------------------- */

static void cancelling_tells_whether_it_was_pending(void **state)
{
    (void)state;
    setup();
    assert_false(loop_cancel(&one));
    soon("no", &one);
    assert_true(loop_cancel(&one));
    assert_false(loop_cancel(&one));
    later(10, "no", &one);
    assert_true(loop_cancel(&one));
    assert_false(loop_cancel(&one));
    soon("yes", &one);
    assert_int_equal(loop_run(loop), 0);
    assert_false(loop_cancel(&one));
    finish("yes");
}

static void cancel_all_three(void *arg)
{
    (void)arg;
    trace("%d%d%d", loop_cancel(&one), loop_cancel(&two), loop_cancel(&three));
}

static void a_callback_cancels_itself_in_vain_and_its_successors_of_the_same_pass(void **state)
{
    (void)state;
    setup();
    assert_int_equal(loop_call_soon(loop, cancel_all_three, NULL, &one), 0);
    soon("no", &two);
    soon("yes", NULL);
    soon("no", &three);
    finish("011 yes");
}

static void timers_that_expired_in_the_same_turn_can_still_be_cancelled(void **state)
{
    (void)state;
    setup();
    assert_int_equal(loop_call_later(loop, 10, cancel_all_three, NULL, &one), 0);
    later(10, "no", &two);
    later(20, "no", &three);
    later(30, "end", NULL);
    finish("011 end");
}

static void a_cancelled_timer_does_not_keep_the_loop_waiting(void **state)
{
    (void)state;
    setup();
    int64_t start = loop_time(loop);
    later(1000, "no", &one);
    later(1, "a", &two);
    loop_cancel(&one);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(loop_time(loop) - start, 1 * MS);
    finish("a");
}

static void a_handle_is_idle_after_loop_close_dropped_its_call(void **state)
{
    (void)state;
    setup();
    soon("no", &one);
    later(10, "no", &two);
    soon("no", NULL);
    later(10, "no", NULL);
    assert_int_equal(close_loop(loop), 0);
    assert_string_equal(traced(), "");
    assert_false(loop_cancel(&one));
    assert_false(loop_cancel(&two));
}

/* --- Errors ----------------------------------------------------------------------------------- */

static void a_null_function_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    setup();
    soon("a", &one);
    later(10, "b", &two);
    assert_int_equal(loop_call_soon(loop, NULL, NULL, &one), -EINVAL);
    assert_int_equal(loop_call_later(loop, 1, NULL, NULL, &two), -EINVAL);
    assert_int_equal(loop_call_at(loop, 1, NULL, NULL, NULL), -EINVAL);
    assert_int_equal(loop_call_soon_threadsafe(loop, NULL, NULL), -EINVAL);
    finish("a b");
}

static void without_memory_calls_with_a_handle_still_work_and_others_are_refused(void **state)
{
    (void)state;
    setup();
    fail_allocation(1, true);
    assert_int_equal(loop_call_soon(loop, say, "a", &one), 0);
    assert_int_equal(loop_call_soon(loop, say, "no", NULL), -ENOMEM);
    assert_int_equal(loop_call_later(loop, 1, say, "no", NULL), -ENOMEM);
    assert_int_equal(loop_call_at(loop, 1, say, "no", &two), -ENOMEM);
    assert_int_equal(loop_call_soon_threadsafe(loop, say, "no"), -ENOMEM);
    assert_false(loop_cancel(&two));
    assert_int_equal(loop_run(loop), 0);
    fail_allocation(0, false);
    finish("a");
}

static void without_memory_a_ready_handle_stays_ready_when_it_cannot_become_a_timer(void **state)
{
    (void)state;
    setup();
    soon("a", &one);
    soon("b", &two);
    fail_allocation(1, true);
    assert_int_equal(loop_call_later(loop, 10, say, "no", &one), -ENOMEM);
    fail_allocation(0, false);
    finish("a b");
}

static void without_memory_a_timer_can_be_moved(void **state)
{
    (void)state;
    setup();
    later(10, "no", &one);
    later(5, "a", &two);
    fail_allocation(1, true);
    assert_int_equal(loop_call_later(loop, 20, say, "b", &one), 0);
    fail_allocation(0, false);
    finish("a b");
}

static void without_memory_a_timer_of_another_loop_stays_where_it_is(void **state)
{
    (void)state;
    setup();
    loop_t *other = loop_new(&(loop_options_t){.virtual_time = true});
    later(10, "a", &one);
    fail_allocation(1, true);
    assert_int_equal(loop_call_later(other, 10, say, "no", &one), -ENOMEM);
    fail_allocation(0, false);
    assert_int_equal(loop_close(other), 0);
    finish("a");
}

static void count(void *counter)
{
    ++*(int *)counter;
}

/* Each allocation on the way fails once; what was refused is not called, everything else is. */
static void each_failing_allocation_loses_exactly_the_call_that_was_refused(void **state)
{
    (void)state;
    enum { CALLS = 300 };
    for (size_t nth = 1;; nth += nth < 5 ? 1 : 97) {
        int ran = 0, accepted = 0;
        setup();
        fail_allocation(nth, false);
        for (int i = 0; i < CALLS; i++) {
            accepted += loop_call_soon(loop, count, &ran, NULL) == 0;
            accepted += loop_call_later(loop, i, count, &ran, NULL) == 0;
        }
        bool reached = allocations() >= nth;
        assert_int_equal(accepted, 2 * CALLS - reached);
        assert_int_equal(loop_run(loop), 0);
        assert_int_equal(ran, accepted);
        assert_int_equal(close_loop(loop), 0);
        if (!reached)
            return;
    }
}

static void a_thousand_calls_without_handles_run_in_order_and_free_their_memory(void **state)
{
    (void)state;
    int ran = 0;
    setup();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 1000; i++)
            assert_int_equal(loop_call_soon(loop, count, &ran, NULL), 0);
        assert_int_equal(loop_run(loop), 0);
    }
    assert_int_equal(ran, 3000);
    finish("");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_run_first_in_first_out),
        cmocka_unit_test(timers_run_by_deadline_and_ties_in_the_order_they_were_set),
        cmocka_unit_test(timers_due_together_after_a_stall_still_run_by_deadline),
        cmocka_unit_test(what_is_scheduled_in_a_pass_runs_in_the_next_one),
        cmocka_unit_test(work_that_schedules_more_work_does_not_starve_timers),
        cmocka_unit_test(a_handle_may_be_scheduled_again_by_its_own_callback),
        cmocka_unit_test(a_handle_may_be_freed_by_its_own_callback),
        cmocka_unit_test(scheduling_a_ready_handle_moves_it_to_the_end_of_the_queue),
        cmocka_unit_test(a_ready_handle_becomes_a_timer_and_back),
        cmocka_unit_test(a_timer_moves_to_an_earlier_and_to_a_later_time),
        cmocka_unit_test(a_timer_set_anew_to_the_same_time_goes_behind_its_ties),
        cmocka_unit_test(a_handle_moves_to_another_loop),
        cmocka_unit_test(an_item_of_the_pass_at_hand_can_be_moved_out_of_it),
        cmocka_unit_test(cancelling_tells_whether_it_was_pending),
        cmocka_unit_test(a_callback_cancels_itself_in_vain_and_its_successors_of_the_same_pass),
        cmocka_unit_test(timers_that_expired_in_the_same_turn_can_still_be_cancelled),
        cmocka_unit_test(a_cancelled_timer_does_not_keep_the_loop_waiting),
        cmocka_unit_test(a_handle_is_idle_after_loop_close_dropped_its_call),
        cmocka_unit_test(a_null_function_is_refused_and_changes_nothing),
        cmocka_unit_test(without_memory_calls_with_a_handle_still_work_and_others_are_refused),
        cmocka_unit_test(without_memory_a_ready_handle_stays_ready_when_it_cannot_become_a_timer),
        cmocka_unit_test(without_memory_a_timer_can_be_moved),
        cmocka_unit_test(without_memory_a_timer_of_another_loop_stays_where_it_is),
        cmocka_unit_test(each_failing_allocation_loses_exactly_the_call_that_was_refused),
        cmocka_unit_test(a_thousand_calls_without_handles_run_in_order_and_free_their_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
