/* Watched fds that are closed, reused, or live on under another number: nothing is called for the
 * wrong file, nothing spins, nothing waits for ever. */
#include "support.h"

#include <fcntl.h>

static loop_t *loop;
static int fds[2];

static void setup(void)
{
    loop = open_loop();
    make_socketpair(fds);
}

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

static void once(void)
{
    (void)loop_run_once(loop, 0);
}

static void put(int fd)
{
    assert_int_equal(write(fd, "x", 1), 1);
}

static loop_stats_t stats(void)
{
    loop_stats_t now;
    loop_stats(loop, &now);
    return now;
}

/* Over an hour of virtual time with a timer each minute a spinning loop would poll without end. */
static int minutes;

static void each_minute(void *arg)
{
    if (++minutes < 60)
        assert_int_equal(loop_call_later(loop, 60000, each_minute, arg, NULL), 0);
    else
        loop_stop(loop);
}

static void expect_no_spinning(void)
{
    loop_stats_t before = stats();
    minutes = 0;
    assert_int_equal(loop_call_later(loop, 60000, each_minute, NULL, NULL), 0);
    assert_true(loop_run(loop) >= 0);
    assert_int_equal(minutes, 60);
    assert_true(stats().polls - before.polls <= 2 * 60 + 5);
    assert_true(stats().events - before.events <= 5);
}

/* --- The same number, another file ------------------------------------------------------------ */

/* Gives fds[0]'s number to a new pipe's reading end, and returns its writing end. */
static int replace_file(void)
{
    int pair[2];
    make_pipe(pair);
    assert_int_equal(dup2(pair[0], fds[0]), fds[0]);
    close(pair[0]);
    return pair[1];
}

static void a_number_reused_after_removal_is_a_new_fd(void **state)
{
    (void)state;
    setup();
    put(fds[1]);
    assert_int_equal(loop_add_reader(loop, fds[0], say, "old"), 0);
    once();
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    int writer = replace_file();
    assert_int_equal(loop_add_reader(loop, fds[0], say, "new"), 0);
    once();
    put(writer);
    once();
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    close(fds[0]), close(fds[1]), close(writer);
    assert_int_equal(reports(), 0);
    finish("old new");
}

static void a_number_reused_without_removal_is_watched_anew_when_it_is_added_again(void **state)
{
    (void)state;
    setup();
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    assert_int_equal(loop_add_writer(loop, fds[0], say, "no"), 0);
    assert_int_equal(loop_remove_writer(loop, fds[0]), 1);
    int writer = replace_file();
    assert_int_equal(loop_add_reader(loop, fds[0], say, "new"), 0);
    put(writer);
    once();
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    close(fds[0]), close(fds[1]), close(writer);
    finish("new");
}

static void a_number_closed_without_removal_can_be_removed_afterwards(void **state)
{
    (void)state;
    setup();
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    once();
    close(fds[0]);
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    close(fds[1]);
    finish("");
}

static int await_it(void *arg)
{
    trace("task%d", co_await_fd(*(int *)arg, CO_READ));
    return 0;
}

static void a_task_can_await_a_number_whose_watched_file_was_closed(void **state)
{
    (void)state;
    setup();
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    int writer = replace_file();
    assert_int_equal(co_go(await_it, &fds[0]), 0);
    once();
    put(writer);
    close(fds[1]);
    finish("task1");
    close(fds[0]), close(writer);
}

/* --- Closed behind the loop's back ------------------------------------------------------------ */

static void an_fd_closed_without_removal_is_reported_and_does_not_keep_the_loop(void **state)
{
    (void)state;
    setup();
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    once();
    close(fds[0]);
    finish("");
    assert_int_equal(reports(), 1);
    assert_non_null(strstr(reported(), "|-9|"));
    close(fds[1]);
}

static void the_same_in_real_time(void **state)
{
    (void)state;
    loop = open_real_loop();
    make_socketpair(fds);
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    assert_int_equal(loop_run_once(loop, 1), 1);
    close(fds[0]);
    finish("");
    assert_int_equal(reports(), 1);
    close(fds[1]);
}

static void watch_again(loop_t *in, const loop_exception_t *exception, void *arg)
{
    (void)exception;
    trace("report");
    assert_int_equal(loop_remove_reader(in, *(int *)arg), 0);
    assert_int_equal(loop_add_reader(in, fds[1], say, "no"), 0);
    assert_int_equal(loop_call_soon(in, say, "soon", NULL), 0);
    assert_int_equal(loop_remove_reader(in, fds[1]), 1);
}

static void the_handler_that_hears_of_it_may_watch_others(void **state)
{
    (void)state;
    setup();
    loop_set_exception_handler(loop, watch_again, &fds[0]);
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    once();
    close(fds[0]);
    finish("report soon");
    close(fds[1]);
}

static int yield_until_told(void *arg)
{
    for (int64_t end = loop_time(arg) + 5000 * MS; loop_time(arg) < end && !reports();)
        if (co_yield_now() < 0)
            break;
    return 0;
}

static void a_closed_fd_is_noticed_though_the_loop_is_never_idle(void **state)
{
    (void)state;
    loop = open_real_loop();
    make_socketpair(fds);
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    close(fds[0]);
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, yield_until_told, loop)), 0);
    assert_int_equal(reports(), 1);
    close(fds[1]);
    finish("");
}

static void a_closed_fd_is_noticed_though_the_loop_never_waits_itself(void **state)
{
    (void)state;
    loop = open_real_loop();
    make_socketpair(fds);
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    close(fds[0]);
    for (int64_t end = loop_time(loop) + 5000 * MS; loop_time(loop) < end && !reports();)
        (void)loop_run_once(loop, 0);
    assert_int_equal(reports(), 1);
    close(fds[1]);
    finish("");
}

/* --- Ghosts: closed here, alive elsewhere ----------------------------------------------------- */

static void a_duplicate_of_a_removed_and_closed_fd_causes_no_events(void **state)
{
    (void)state;
    setup();
    int ghost = dup(fds[0]);
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    once();
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    close(fds[0]);
    put(fds[1]);
    loop_hold(loop);
    expect_no_spinning();
    loop_release(loop);
    close(ghost), close(fds[1]);
    finish("");
}

static void a_duplicate_of_an_fd_removed_after_its_close_causes_no_spinning(void **state)
{
    (void)state;
    setup();
    int ghost = dup(fds[0]);
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    once();
    close(fds[0]);
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    put(fds[1]);
    loop_hold(loop);
    expect_no_spinning();
    loop_release(loop);
    close(ghost), close(fds[1]);
    finish("");
}

static void a_ghost_does_not_call_the_reader_of_its_number_s_next_file(void **state)
{
    (void)state;
    setup();
    int ghost = dup(fds[0]);
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    once();
    int writer = replace_file();
    assert_int_equal(loop_add_reader(loop, fds[0], say, "new"), 0);
    put(fds[1]);
    expect_no_spinning();
    put(writer);
    once();
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    close(ghost), close(fds[0]), close(fds[1]), close(writer);
    finish("new");
}

/* The selector still knows the file under this number, though the loop has forgotten it. */
static void an_own_fd_closed_and_brought_back_to_its_number_can_be_watched_again(void **state)
{
    (void)state;
    setup();
    int ghost = dup(fds[0]), number = fds[0];
    for (int round = 0; round < 3; round++) {
        assert_int_equal(co_adopt(number), 0);
        assert_int_equal(loop_add_reader(loop, number, say, "no"), 0);
        once();
        assert_int_equal(co_close(number), 0);
        assert_int_equal(dup2(ghost, number), number);
    }
    assert_int_equal(loop_add_reader(loop, number, say, "r"), 0);
    put(fds[1]);
    once();
    assert_int_equal(loop_remove_reader(loop, number), 1);
    loop_hold(loop);
    expect_no_spinning();
    loop_release(loop);
    close(ghost), close(number), close(fds[1]);
    assert_int_equal(reports(), 0);
    finish("r");
}

static void an_fd_adopted_twice_can_be_awaited_and_watched(void **state)
{
    (void)state;
    setup();
    for (int round = 0; round < 2; round++) {
        assert_int_equal(co_adopt(fds[0]), 0);
        assert_int_equal(co_go(await_it, &fds[0]), 0);
        once();
        put(fds[1]);
        once();
    }
    assert_int_equal(loop_add_reader(loop, fds[0], say, "r"), 0);
    once();
    assert_int_equal(co_close(fds[0]), 0);
    close(fds[1]);
    finish("task1 task1 r");
}

static void a_duplicate_of_a_closed_own_fd_causes_no_spinning(void **state)
{
    (void)state;
    setup();
    int ghost = dup(fds[0]);
    assert_int_equal(co_adopt(fds[0]), 0);
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    once();
    assert_int_equal(co_close(fds[0]), 0);
    put(fds[1]);
    loop_hold(loop);
    expect_no_spinning();
    loop_release(loop);
    close(ghost), close(fds[1]);
    finish("");
}

static void read_byte(void *arg)
{
    char byte;
    if (read(*(int *)arg, &byte, 1) == 1)
        trace("r");
}

/* Driving a ghost out registers everything anew: watchers, waits and own fds come through it. */
static void everything_else_survives_the_driving_out_of_a_ghost(void **state)
{
    (void)state;
    int watched[2], awaited[2], own[2];
    setup();
    make_socketpair(watched), make_socketpair(awaited), make_socketpair(own);
    assert_int_equal(co_adopt(own[0]), 0);
    int ghost = dup(fds[0]);
    assert_int_equal(loop_add_reader(loop, watched[0], read_byte, &watched[0]), 0);
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    assert_int_equal(co_go(await_it, &awaited[0]), 0);
    assert_int_equal(co_go(await_it, &own[0]), 0);
    once();
    close(fds[0]);
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    put(fds[1]);
    expect_no_spinning();
    put(watched[1]);
    once();
    put(awaited[1]);
    once();
    put(own[1]);
    once();
    once();
    assert_int_equal(loop_call_soon_threadsafe(loop, say, "posted"), 0);
    once();
    put(watched[1]);
    once();
    assert_int_equal(loop_remove_reader(loop, watched[0]), 1);
    assert_int_equal(co_close(own[0]), 0);
    close(ghost), close(fds[1]), close(watched[0]), close(watched[1]);
    close(awaited[0]), close(awaited[1]), close(own[1]);
    finish("r task1 task1 posted r");
}

static void a_removed_fd_that_stays_open_and_ready_causes_no_spinning(void **state)
{
    (void)state;
    setup();
    put(fds[1]);
    assert_int_equal(loop_add_reader(loop, fds[0], say, "r"), 0);
    once();
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    loop_hold(loop);
    expect_no_spinning();
    loop_release(loop);
    close(fds[0]), close(fds[1]);
    finish("r");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_reused_after_removal_is_a_new_fd),
        cmocka_unit_test(a_number_reused_without_removal_is_watched_anew_when_it_is_added_again),
        cmocka_unit_test(a_number_closed_without_removal_can_be_removed_afterwards),
        cmocka_unit_test(a_task_can_await_a_number_whose_watched_file_was_closed),
        cmocka_unit_test(an_fd_closed_without_removal_is_reported_and_does_not_keep_the_loop),
        cmocka_unit_test(the_same_in_real_time),
        cmocka_unit_test(the_handler_that_hears_of_it_may_watch_others),
        cmocka_unit_test(a_closed_fd_is_noticed_though_the_loop_is_never_idle),
        cmocka_unit_test(a_closed_fd_is_noticed_though_the_loop_never_waits_itself),
        cmocka_unit_test(a_duplicate_of_a_removed_and_closed_fd_causes_no_events),
        cmocka_unit_test(a_duplicate_of_an_fd_removed_after_its_close_causes_no_spinning),
        cmocka_unit_test(a_ghost_does_not_call_the_reader_of_its_number_s_next_file),
        cmocka_unit_test(an_own_fd_closed_and_brought_back_to_its_number_can_be_watched_again),
        cmocka_unit_test(an_fd_adopted_twice_can_be_awaited_and_watched),
        cmocka_unit_test(a_duplicate_of_a_closed_own_fd_causes_no_spinning),
        cmocka_unit_test(everything_else_survives_the_driving_out_of_a_ghost),
        cmocka_unit_test(a_removed_fd_that_stays_open_and_ready_causes_no_spinning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
