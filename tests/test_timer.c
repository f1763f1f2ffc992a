/* Timers: far, extreme and negative deadlines, stability in numbers, real and virtual time. */
#include "support.h"

#include <time.h>
#include <unistd.h>

static loop_t *loop;

static void finish(const char *expected)
{
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), expected);
    assert_int_equal(close_loop(loop), 0);
}

static void say(void *word)
{
    trace("%s", (const char *)word);
}

static void say_when(void *word)
{
    trace("%s%lld", (const char *)word, (long long)(loop_time(loop) / MS));
}

static void negative_milliseconds_and_past_times_count_as_now(void **state)
{
    (void)state;
    loop = open_loop();
    int64_t start = loop_time(loop);
    assert_int_equal(loop_call_later(loop, -1, say, "a", NULL), 0);
    assert_int_equal(loop_call_later(loop, INT64_MIN, say, "b", NULL), 0);
    assert_int_equal(loop_call_later(loop, 0, say, "c", NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(loop_time(loop), start);
    finish("a b c");
}

static void extreme_absolute_times_are_sorted_like_others(void **state)
{
    (void)state;
    loop = open_loop();
    int64_t start = loop_time(loop);
    assert_int_equal(loop_call_at(loop, start, say, "c", NULL), 0);
    assert_int_equal(loop_call_at(loop, INT64_MIN, say, "a", NULL), 0);
    assert_int_equal(loop_call_at(loop, -1, say, "b", NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(loop_time(loop), start);
    finish("a b c");
}

/* Milliseconds that do not fit in nanoseconds are for ever: never run, and waited for. */
static void what_overflows_is_never_and_can_be_cancelled(void **state)
{
    (void)state;
    loop_handle_t far = {0}, farther = {0};
    loop = open_loop();
    assert_int_equal(loop_call_later(loop, INT64_MAX, say, "no", &far), 0);
    assert_int_equal(loop_call_later(loop, INT64_MAX / 1000000, say, "no", &farther), 0);
    assert_int_equal(loop_call_later(loop, 1000, say, "a", NULL), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_int_equal(loop_run_once(loop, 5000), 1);
    assert_true(loop_cancel(&far));
    assert_true(loop_cancel(&farther));
    finish("a");
}

static void stop_loop(void *arg)
{
    (void)arg;
    loop_stop(loop);
}

static void a_timer_at_the_end_of_time_keeps_the_loop_alive_and_never_runs(void **state)
{
    (void)state;
    loop_handle_t never = {0};
    loop = open_loop();
    assert_int_equal(loop_call_at(loop, INT64_MAX, say, "no", &never), 0);
    assert_int_equal(loop_call_later(loop, 3600 * 1000, stop_loop, NULL, NULL), 0);
    assert_int_equal(loop_run(loop), 1);
    assert_true(loop_cancel(&never));
    finish("");
}

/* A wait too long for the clock is one for ever, which a stop or a post ends. */
static void the_longest_waits_leave_virtual_time_where_it_is(void **state)
{
    (void)state;
    loop_handle_t never = {0};
    loop = open_loop();
    loop_stop(loop);
    assert_int_equal(loop_run_once(loop, INT64_MAX), 0);
    assert_int_equal(loop_call_at(loop, INT64_MAX, say, "no", &never), 0);
    assert_int_equal(loop_call_soon_threadsafe(loop, say, "posted"), 0);
    assert_int_equal(loop_run_once(loop, INT64_MAX - 1), 1);
    assert_int_equal(loop_time(loop), 0);
    loop_cancel(&never);
    finish("posted");
}

static void the_longest_jump_reaches_no_timer_that_is_never(void **state)
{
    (void)state;
    loop_handle_t never = {0};
    loop = open_loop();
    assert_int_equal(loop_run_once(loop, INT64_MAX / 1000000), 0);
    assert_int_equal(loop_time(loop), INT64_MAX / 1000000 * MS);
    assert_int_equal(loop_call_at(loop, INT64_MAX, say, "no", &never), 0);
    assert_int_equal(loop_call_later(loop, 0, say, "now", NULL), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    loop_cancel(&never);
    finish("now");
}

static void a_real_far_deadline_does_not_end_the_wait_early_or_fail(void **state)
{
    (void)state;
    loop = open_real_loop();
    assert_int_equal(loop_call_later(loop, INT64_C(1) << 40, say, "no", NULL), 0);
    assert_int_equal(loop_call_at(loop, INT64_MAX - 1, say, "no", NULL), 0);
    int64_t start = loop_time(loop);
    loop_stats_t stats;
    while (loop_time(loop) - start < 20 * MS)
        assert_int_equal(loop_run_once(loop, 5), 1);
    loop_stats(loop, &stats);
    assert_true(stats.polls < 50);
    assert_string_equal(traced(), "");
    assert_int_equal(close_loop(loop), 0);
}

static void virtual_time_jumps_from_deadline_to_deadline(void **state)
{
    (void)state;
    loop = open_loop();
    int64_t start = loop_time(loop) / MS;
    assert_int_equal(start, 0);
    assert_int_equal(loop_call_later(loop, 86400 * 1000, say_when, "day", NULL), 0);
    assert_int_equal(loop_call_later(loop, 1, say_when, "ms", NULL), 0);
    assert_int_equal(loop_call_later(loop, 3600 * 1000, say_when, "hour", NULL), 0);
    finish("ms1 hour3600000 day86400000");
}

static int rounds;

static void work_on(void *arg)
{
    if (++rounds < 500)
        assert_int_equal(loop_call_soon(loop, work_on, arg, NULL), 0);
    else
        say_when("worked");
}

static void virtual_time_stands_still_while_work_is_ready(void **state)
{
    (void)state;
    loop = open_loop();
    rounds = 0;
    assert_int_equal(loop_call_later(loop, 1, say_when, "timer", NULL), 0);
    assert_int_equal(loop_call_soon(loop, work_on, NULL, NULL), 0);
    finish("worked0 timer1");
}

static void virtual_time_moves_only_as_far_as_one_wait_allows(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(loop_call_later(loop, 100, say_when, "t", NULL), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_int_equal(loop_time(loop), 0);
    assert_int_equal(loop_run_once(loop, 60), 1);
    assert_int_equal(loop_time(loop), 60 * MS);
    assert_int_equal(loop_run_once(loop, 60), 0);
    assert_int_equal(loop_time(loop), 100 * MS);
    finish("t100");
}

static void set_one_in_the_past(void *arg)
{
    (void)arg;
    say_when("set");
    assert_int_equal(loop_call_later(loop, 0, say_when, "zero", NULL), 0);
    assert_int_equal(loop_call_at(loop, loop_time(loop) - 5 * MS, say_when, "past", NULL), 0);
}

static void a_timer_set_by_a_timer_runs_in_a_later_pass_even_if_it_is_due(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(loop_call_later(loop, 10, set_one_in_the_past, NULL, NULL), 0);
    assert_int_equal(loop_call_later(loop, 10, say_when, "tie", NULL), 0);
    finish("set10 tie10 past10 zero10");
}

/* Many timers, few deadlines: those of one run as they were set, whatever was cancelled. */
enum { MANY = 2000, DEADLINES = 7 };
static struct timed {
    loop_handle_t handle;
    int number, deadline;
} timed[MANY];
static int last_deadline, last_number, out_of_order, ran;

static void check_order(void *arg)
{
    const struct timed *t = arg;
    if (t->deadline < last_deadline || (t->deadline == last_deadline && t->number < last_number))
        out_of_order++;
    last_deadline = t->deadline;
    last_number = t->number;
    ran++;
}

static void thousands_of_timers_are_sorted_stably(void **state)
{
    (void)state;
    int cancelled = 0;
    loop = open_loop();
    last_deadline = last_number = out_of_order = ran = 0;
    for (int i = 0; i < MANY; i++) {
        struct timed *t = &timed[i];
        *t = (struct timed){.number = i, .deadline = i * 31 % DEADLINES};
        assert_int_equal(loop_call_later(loop, t->deadline, check_order, t, &t->handle), 0);
    }
    for (int i = 0; i < MANY; i += 3)
        cancelled += loop_cancel(&timed[i].handle);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(out_of_order, 0);
    assert_int_equal(ran, MANY - cancelled);
    finish("");
}

/* --- More that are due than expire in a turn -------------------------------------------------- */

enum { DUE = 10000 };
static loop_handle_t due_handles[DUE];

static void count_timer(void *number)
{
    out_of_order += ran != (int)(intptr_t)number;
    ran++;
}

static void set_many_in_the_past(loop_fn *first)
{
    out_of_order = ran = 0;
    for (int i = 0; i < DUE; i++)
        assert_int_equal(loop_call_at(loop, i / 1000 - 20, i ? count_timer : first,
                                      (void *)(intptr_t)i, &due_handles[i]),
                         0);
}

static int pipe_fds[2], ran_before_event, ran_before_call;

static void note_call(void *arg)
{
    (void)arg;
    ran_before_call = ran;
}

static void note_event(void *arg)
{
    (void)arg;
    ran_before_event = ran;
    assert_int_equal(loop_remove_reader(loop, pipe_fds[0]), 1);
}

static void make_call_and_event(void *number)
{
    count_timer(number);
    assert_int_equal(loop_call_soon(loop, note_call, NULL, NULL), 0);
    assert_int_equal(write(pipe_fds[1], "x", 1), 1);
}

static void many_timers_keep_neither_calls_nor_events_waiting(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(loop_add_reader(loop, pipe_fds[0], note_event, NULL), 0);
    ran_before_call = ran_before_event = DUE;
    set_many_in_the_past(make_call_and_event);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(ran, DUE);
    assert_int_equal(out_of_order, 0);
    assert_true(ran_before_call < DUE / 2);
    assert_true(ran_before_event < DUE / 2);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    finish("");
}

static void many_timers_run_in_several_passes_of_a_foreign_loop(void **state)
{
    (void)state;
    loop = open_loop();
    int passes = 1;
    set_many_in_the_past(count_timer);
    while (loop_run_once(loop, 0))
        passes++;
    assert_int_equal(ran, DUE);
    assert_int_equal(out_of_order, 0);
    assert_true(passes > 1);
    finish("");
}

enum { BUSY = 3000 };
static int busy_runs;

static void stay_busy(void *handle)
{
    busy_runs++;
    if (ran < DUE)
        assert_int_equal(loop_call_soon(loop, stay_busy, handle, handle), 0);
}

/* However much else is ready in each pass: timers get their share. */
static void passes_that_are_long_do_not_starve_timers(bool foreign)
{
    static loop_handle_t busy[BUSY];
    loop = open_loop();
    busy_runs = 0;
    set_many_in_the_past(count_timer);
    for (int i = 0; i < BUSY; i++)
        assert_int_equal(loop_call_soon(loop, stay_busy, &busy[i], &busy[i]), 0);
    if (foreign)
        while (loop_run_once(loop, 0))
            ;
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(ran, DUE);
    assert_int_equal(out_of_order, 0);
    assert_true(busy_runs < 10 * BUSY);
    finish("");
}

static void long_passes_do_not_starve_timers(void **state)
{
    (void)state;
    passes_that_are_long_do_not_starve_timers(false);
}

static void long_passes_of_a_foreign_loop_do_not_starve_timers(void **state)
{
    (void)state;
    passes_that_are_long_do_not_starve_timers(true);
}

static void cancel_the_others(void *number)
{
    count_timer(number);
    for (int i = 1; i < DUE; i++)
        assert_true(loop_cancel(&due_handles[i]));
}

static void a_timer_that_is_due_can_be_cancelled_by_one_that_ran_before_it(void **state)
{
    (void)state;
    loop = open_loop();
    set_many_in_the_past(cancel_the_others);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(ran, 1);
    for (int i = 0; i < DUE; i++)
        assert_false(loop_cancel(&due_handles[i]));
    finish("");
}

/* --- Real time: only never early -------------------------------------------------------------- */

static int64_t real_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 * MS + t.tv_nsec;
}

struct due {
    int64_t when;
};
static int early;

static void check_due(void *arg)
{
    const struct due *due = arg;
    early += real_now() < due->when || loop_time(loop) < due->when;
    ran++;
}

static void stall(void *arg)
{
    (void)arg;
    for (int64_t end = real_now() + 3 * MS; real_now() < end;)
        ;
}

static void timers_are_never_early_in_real_time(void **state)
{
    (void)state;
    enum { N = 20 };
    struct due due[2 * N];
    loop = open_real_loop();
    early = ran = 0;
    assert_int_equal(loop_call_soon(loop, stall, NULL, NULL), 0);
    for (int i = 0; i < N; i++) {
        due[i].when = real_now() + i * MS;
        assert_int_equal(loop_call_later(loop, i, check_due, &due[i], NULL), 0);
        due[N + i].when = real_now() + i * 777777;
        assert_int_equal(loop_call_at(loop, due[N + i].when, check_due, &due[N + i], NULL), 0);
    }
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(early, 0);
    assert_int_equal(ran, 2 * N);
    finish("");
}

static struct due from_callback;

static void set_after_a_stall(void *arg)
{
    stall(NULL);
    from_callback.when = real_now() + 2 * MS;
    assert_int_equal(loop_call_later(loop, 2, check_due, arg, NULL), 0);
}

static void a_delay_counts_from_the_call_and_not_from_the_beginning_of_the_pass(void **state)
{
    (void)state;
    loop = open_real_loop();
    early = ran = 0;
    assert_int_equal(loop_call_soon(loop, set_after_a_stall, &from_callback, NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(early, 0);
    assert_int_equal(ran, 1);
    finish("");
}

static void time_stands_still(void *seen)
{
    *(int64_t *)seen = loop_time(loop);
    stall(NULL);
    if (loop_time(loop) != *(int64_t *)seen)
        trace("moved");
}

static void loop_time_is_read_once_a_pass_and_never_goes_back(void **state)
{
    (void)state;
    int64_t first = 0, second = 0;
    loop = open_real_loop();
    assert_int_equal(loop_call_soon(loop, time_stands_still, &first, NULL), 0);
    assert_int_equal(loop_call_later(loop, 1, time_stands_still, &second, NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_true(second >= first + 1 * MS);
    assert_true(loop_time(loop) >= second);
    finish("");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(negative_milliseconds_and_past_times_count_as_now),
        cmocka_unit_test(extreme_absolute_times_are_sorted_like_others),
        cmocka_unit_test(what_overflows_is_never_and_can_be_cancelled),
        cmocka_unit_test(a_timer_at_the_end_of_time_keeps_the_loop_alive_and_never_runs),
        cmocka_unit_test(the_longest_waits_leave_virtual_time_where_it_is),
        cmocka_unit_test(the_longest_jump_reaches_no_timer_that_is_never),
        cmocka_unit_test(a_real_far_deadline_does_not_end_the_wait_early_or_fail),
        cmocka_unit_test(virtual_time_jumps_from_deadline_to_deadline),
        cmocka_unit_test(virtual_time_stands_still_while_work_is_ready),
        cmocka_unit_test(virtual_time_moves_only_as_far_as_one_wait_allows),
        cmocka_unit_test(a_timer_set_by_a_timer_runs_in_a_later_pass_even_if_it_is_due),
        cmocka_unit_test(thousands_of_timers_are_sorted_stably),
        cmocka_unit_test(many_timers_keep_neither_calls_nor_events_waiting),
        cmocka_unit_test(many_timers_run_in_several_passes_of_a_foreign_loop),
        cmocka_unit_test(long_passes_do_not_starve_timers),
        cmocka_unit_test(long_passes_of_a_foreign_loop_do_not_starve_timers),
        cmocka_unit_test(a_timer_that_is_due_can_be_cancelled_by_one_that_ran_before_it),
        cmocka_unit_test(timers_are_never_early_in_real_time),
        cmocka_unit_test(a_delay_counts_from_the_call_and_not_from_the_beginning_of_the_pass),
        cmocka_unit_test(loop_time_is_read_once_a_pass_and_never_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
