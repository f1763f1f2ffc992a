/* Readers and writers: callbacks for as long as an fd is ready. */
#include "support.h"

#include <fcntl.h>
#include <stdio.h>

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
    assert_string_equal(reported(), "");
    assert_int_equal(close_loop(loop), 0);
    close(fds[0]);
    close(fds[1]);
}

static void say(void *word)
{
    trace("%s", (const char *)word);
}

static void put(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void take(int fd)
{
    char byte = 0;
    ssize_t n = read(fd, &byte, 1);
    if (n == 1)
        trace("%c", byte);
    else
        trace(n == 0 ? "end" : "error");
}

static void once(void)
{
    (void)loop_run_once(loop, 0);
}

/* Reads one byte a call, and ends watching at '.' or the end. */
static void read_one(void *arg)
{
    int fd = *(int *)arg;
    char byte = '.';
    ssize_t n = read(fd, &byte, 1);
    if (n == 1)
        trace("%c", byte);
    else
        trace(n == 0 ? "end" : "error");
    if (n != 1 || byte == '.')
        assert_int_equal(loop_remove_reader(loop, fd), 1);
}

/* --- Level semantics -------------------------------------------------------------------------- */

static void a_reader_is_called_again_in_each_pass_while_there_is_something_left(void **state)
{
    (void)state;
    setup();
    put(fds[1], "abc.");
    assert_int_equal(loop_add_reader(loop, fds[0], read_one, &fds[0]), 0);
    finish("a b c .");
}

static void a_reader_is_not_called_while_there_is_nothing(void **state)
{
    (void)state;
    setup();
    assert_int_equal(loop_add_reader(loop, fds[0], read_one, &fds[0]), 0);
    once();
    assert_string_equal(traced(), "");
    put(fds[1], "a");
    once();
    once();
    assert_string_equal(traced(), "a");
    put(fds[1], ".");
    finish("a .");
}

static int calls;

static void count_to_three(void *arg)
{
    if (++calls == 3)
        assert_int_equal(loop_remove_writer(loop, *(int *)arg), 1);
}

static void a_writer_is_called_in_each_pass_while_there_is_room(void **state)
{
    (void)state;
    setup();
    calls = 0;
    assert_int_equal(loop_add_writer(loop, fds[0], count_to_three, &fds[0]), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(calls, 3);
    finish("");
}

static void drain(int fd)
{
    char buffer[4096];
    while (read(fd, buffer, sizeof buffer) > 0)
        ;
}

static void fill(int fd)
{
    static const char zeros[4096];
    while (write(fd, zeros, sizeof zeros) > 0)
        ;
    while (write(fd, zeros, 1) > 0)
        ;
}

static void a_writer_is_not_called_while_the_buffer_is_full(void **state)
{
    (void)state;
    setup();
    calls = 2;
    fill(fds[0]);
    assert_int_equal(loop_add_writer(loop, fds[0], count_to_three, &fds[0]), 0);
    once();
    once();
    assert_int_equal(calls, 2);
    drain(fds[1]);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(calls, 3);
    finish("");
}

static void one_fd_has_a_reader_and_a_writer(void **state)
{
    (void)state;
    setup();
    put(fds[1], "x");
    assert_int_equal(loop_add_reader(loop, fds[0], say, "r"), 0);
    assert_int_equal(loop_add_writer(loop, fds[0], say, "w"), 0);
    once();
    assert_string_equal(traced(), "r w");
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    once();
    assert_string_equal(traced(), "r w w");
    assert_int_equal(loop_add_reader(loop, fds[0], say, "R"), 0);
    assert_int_equal(loop_remove_writer(loop, fds[0]), 1);
    once();
    assert_string_equal(traced(), "r w w R");
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    finish("r w w R");
}

static void hang_up_counts_as_both(void **state)
{
    (void)state;
    setup();
    fill(fds[0]);
    close(fds[1]);
    assert_int_equal(loop_add_reader(loop, fds[0], say, "r"), 0);
    assert_int_equal(loop_add_writer(loop, fds[0], say, "w"), 0);
    once();
    assert_string_equal(traced(), "r w");
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    once();
    assert_int_equal(loop_remove_writer(loop, fds[0]), 1);
    once();
    finish("r w w");
}

static void the_broken_end_of_a_pipe_is_writable(void **state)
{
    (void)state;
    loop = open_loop();
    make_pipe(fds);
    fill(fds[1]);
    close(fds[0]);
    assert_int_equal(loop_add_writer(loop, fds[1], say, "w"), 0);
    once();
    assert_int_equal(loop_remove_writer(loop, fds[1]), 1);
    finish("w");
}

static void a_half_closed_peer_makes_a_reader_read_the_end(void **state)
{
    (void)state;
    setup();
    put(fds[1], "a");
    shutdown(fds[1], SHUT_WR);
    assert_int_equal(loop_add_reader(loop, fds[0], read_one, &fds[0]), 0);
    finish("a end");
}

/* --- Replacing and removing ------------------------------------------------------------------- */

static void a_second_call_replaces_the_callback(void **state)
{
    (void)state;
    setup();
    put(fds[1], "x");
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    assert_int_equal(loop_add_reader(loop, fds[0], say, "yes"), 0);
    once();
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    assert_int_equal(loop_remove_reader(loop, fds[0]), 0);
    finish("yes");
}

static void removals_tell_whether_there_was_one(void **state)
{
    (void)state;
    setup();
    assert_int_equal(loop_remove_reader(loop, fds[0]), 0);
    assert_int_equal(loop_remove_writer(loop, 100000), 0);
    assert_int_equal(loop_remove_reader(loop, -1), 0);
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    assert_int_equal(loop_remove_writer(loop, fds[0]), 0);
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    assert_int_equal(loop_remove_reader(loop, fds[0]), 0);
    finish("");
}

/* The one of the two that is called first replaces the other, whose call is due, too. */
static void replace_the_other(void *arg)
{
    int self = *(int *)arg, other = self == fds[0] ? fds[1] : fds[0];
    say("first");
    assert_int_equal(loop_remove_reader(loop, self), 1);
    assert_int_equal(loop_add_reader(loop, other, say, "replaced"), 0);
}

static void a_reader_replaced_while_its_call_is_due_is_called_in_the_new_way(void **state)
{
    (void)state;
    setup();
    for (int i = 0; i < 2; i++) {
        put(fds[i], "x");
        assert_int_equal(loop_add_reader(loop, fds[i], replace_the_other, &fds[i]), 0);
    }
    once();
    assert_int_equal(loop_remove_reader(loop, fds[0]) + loop_remove_reader(loop, fds[1]), 1);
    finish("first replaced");
}

static void remove_all(void *word)
{
    say(word);
    for (int i = 0; i < 2; i++) {
        loop_remove_reader(loop, fds[i]);
        loop_remove_writer(loop, fds[i]);
    }
}

static void what_one_callback_removes_is_not_called_in_the_same_pass(void **state)
{
    (void)state;
    setup();
    for (int i = 0; i < 2; i++) {
        put(fds[i], "x");
        assert_int_equal(loop_add_reader(loop, fds[i], remove_all, "x"), 0);
        assert_int_equal(loop_add_writer(loop, fds[i], remove_all, "x"), 0);
    }
    finish("x");
}

/* The number of the other, whose call is due, becomes a pipe that has nothing to read. */
static void make_the_other_a_pipe(void *arg)
{
    int self = *(int *)arg, other = self == fds[0] ? fds[1] : fds[0], pair[2];
    say("first");
    assert_int_equal(loop_remove_reader(loop, self), 1);
    assert_int_equal(loop_remove_reader(loop, other), 1);
    make_pipe(pair);
    assert_int_equal(dup2(pair[0], other), other);
    assert_int_equal(dup2(pair[1], self), self);
    close(pair[0]);
    close(pair[1]);
    arg = other == fds[0] ? &fds[0] : &fds[1];
    assert_int_equal(loop_add_reader(loop, other, read_one, arg), 0);
    assert_int_equal(loop_call_later(loop, 1, say, "later", NULL), 0);
}

static void a_number_reused_in_the_same_pass_does_not_get_the_old_events(void **state)
{
    (void)state;
    setup();
    for (int i = 0; i < 2; i++) {
        put(fds[i], "x");
        assert_int_equal(loop_add_reader(loop, fds[i], make_the_other_a_pipe, &fds[i]), 0);
    }
    once();
    once();
    assert_int_equal(loop_run_once(loop, 1), 1);
    assert_int_equal(loop_remove_reader(loop, fds[0]) + loop_remove_reader(loop, fds[1]), 1);
    finish("first later");
}

static void re_add(void *arg)
{
    (void)arg;
    trace("r");
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    if (++calls < 3)
        assert_int_equal(loop_add_reader(loop, fds[0], re_add, NULL), 0);
}

static void a_callback_may_remove_and_add_itself(void **state)
{
    (void)state;
    setup();
    calls = 0;
    put(fds[1], "x");
    assert_int_equal(loop_add_reader(loop, fds[0], re_add, NULL), 0);
    finish("r r r");
}

/* --- Coroutines beside callbacks -------------------------------------------------------------- */

static int await_it(void *arg)
{
    int rc = co_await_fd(*(int *)arg, CO_READ);
    trace("task%d", rc);
    return 0;
}

static int await_room(void *arg)
{
    trace("room%d", co_await_fd(*(int *)arg, CO_WRITE));
    return 0;
}

static void a_watched_fd_can_be_awaited_too(void **state)
{
    (void)state;
    setup();
    assert_int_equal(co_go(await_it, &fds[0]), 0);
    once();
    assert_int_equal(loop_add_reader(loop, fds[0], read_one, &fds[0]), 0);
    assert_int_equal(co_go(await_it, &fds[0]), 0);
    assert_int_equal(co_go(await_room, &fds[0]), 0);
    once();
    once();
    assert_string_equal(traced(), "room2");
    put(fds[1], "ab.");
    finish("room2 a task1 task1 b .");
}

static void removing_the_reader_leaves_the_task_waiting(void **state)
{
    (void)state;
    setup();
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    assert_int_equal(co_go(await_it, &fds[0]), 0);
    once();
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    once();
    put(fds[1], "x");
    finish("task1");
}

static void a_cancelled_wait_leaves_the_watcher_as_it_was(void **state)
{
    (void)state;
    setup();
    assert_int_equal(loop_add_reader(loop, fds[0], read_one, &fds[0]), 0);
    fill(fds[0]);
    co_task_t *task = loop_spawn(loop, await_room, &fds[0]);
    once();
    co_task_cancel(task);
    co_task_release(task);
    once();
    drain(fds[1]);
    once();
    once();
    put(fds[1], "a.");
    char expected[32];
    snprintf(expected, sizeof expected, "room%d a .", -ECANCELED);
    finish(expected);
}

static int read_all(void *arg)
{
    char byte;
    ssize_t n;
    while ((n = co_read(*(int *)arg, &byte, 1)) > 0 && byte != '.')
        trace("t%c", byte);
    return (int)n;
}

static void an_own_fd_can_be_watched_and_read_by_a_task_afterwards(void **state)
{
    (void)state;
    setup();
    assert_int_equal(co_adopt(fds[0]), 0);
    assert_int_equal(loop_add_reader(loop, fds[0], read_one, &fds[0]), 0);
    once();
    put(fds[1], "a.");
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(co_go(read_all, &fds[0]), 0);
    once();
    put(fds[1], "bc");
    once();
    put(fds[1], "d.");
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "a . tb tc td");
    assert_int_equal(co_close(fds[0]), 0);
    fds[0] = -1;
    finish("a . tb tc td");
}

static void an_own_fd_is_watched_while_a_task_reads_it(void **state)
{
    (void)state;
    setup();
    assert_int_equal(co_adopt(fds[0]), 0);
    assert_int_equal(co_go(read_all, &fds[0]), 0);
    once();
    assert_int_equal(loop_add_writer(loop, fds[0], count_to_three, &fds[0]), 0);
    calls = 0;
    put(fds[1], "a");
    once();
    once();
    once();
    once();
    assert_int_equal(calls, 3);
    put(fds[1], "b.");
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(co_close(fds[0]), 0);
    fds[0] = -1;
    finish("ta tb");
}

static void closing_an_own_fd_ends_its_watchers(void **state)
{
    (void)state;
    setup();
    put(fds[1], "x");
    assert_int_equal(co_adopt(fds[0]), 0);
    assert_int_equal(loop_add_reader(loop, fds[0], say, "no"), 0);
    assert_int_equal(loop_add_writer(loop, fds[0], say, "no"), 0);
    assert_int_equal(co_close(fds[0]), 0);
    assert_int_equal(loop_remove_reader(loop, fds[0]), 0);
    fds[0] = -1;
    finish("");
}

/* --- Errors ----------------------------------------------------------------------------------- */

static void bad_fds_are_refused(void **state)
{
    (void)state;
    setup();
    int closed = dup(0);
    close(closed);
    assert_int_equal(loop_add_reader(loop, closed, say, "no"), -EBADF);
    assert_int_equal(loop_add_writer(loop, closed, say, "no"), -EBADF);
    assert_int_equal(loop_add_reader(loop, -1, say, "no"), -EBADF);
    assert_int_equal(loop_add_reader(loop, INT32_MIN, say, "no"), -EBADF);
    assert_int_equal(loop_add_writer(loop, INT32_MAX, say, "no"), -EBADF);
    assert_int_equal(loop_remove_reader(loop, closed), 0);
    finish("");
}

static void a_regular_file_is_refused_and_a_device_is_not_lost(void **state)
{
    (void)state;
    setup();
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(loop_add_reader(loop, fileno(file), say, "no"), -EPERM);
    assert_int_equal(loop_add_writer(loop, fileno(file), say, "no"), -EPERM);
    int directory = open("/", O_RDONLY | O_DIRECTORY);
    assert_int_equal(loop_add_reader(loop, directory, say, "no"), -EPERM);
    close(directory);
    fclose(file);
    finish("");
}

static void without_memory_a_watcher_is_refused_and_the_other_direction_stays(void **state)
{
    (void)state;
    for (size_t nth = 1, failures = 1; failures; nth++) {
        setup();
        put(fds[1], "a.");
        fail_allocation(nth, false);
        int rc = loop_add_reader(loop, fds[0], read_one, &fds[0]);
        int wc = loop_add_writer(loop, fds[0], count_to_three, &fds[0]);
        failures = (size_t)((rc != 0) + (wc != 0));
        fail_allocation(0, false);
        assert_true(rc == 0 || rc == -ENOMEM);
        assert_true(wc == 0 || wc == -ENOMEM);
        assert_true(failures <= 1);
        calls = 0;
        assert_int_equal(loop_run(loop), 0);
        assert_int_equal(calls, wc ? 0 : 3);
        finish(rc ? "" : "a .");
    }
}

static void a_refused_replacement_leaves_the_old_callback(void **state)
{
    (void)state;
    setup();
    put(fds[1], "x");
    assert_int_equal(loop_add_reader(loop, fds[0], say, "old"), 0);
    assert_int_equal(loop_add_reader(loop, fds[0], NULL, NULL), -EINVAL);
    once();
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    take(fds[0]);
    finish("old x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_is_called_again_in_each_pass_while_there_is_something_left),
        cmocka_unit_test(a_reader_is_not_called_while_there_is_nothing),
        cmocka_unit_test(a_writer_is_called_in_each_pass_while_there_is_room),
        cmocka_unit_test(a_writer_is_not_called_while_the_buffer_is_full),
        cmocka_unit_test(one_fd_has_a_reader_and_a_writer),
        cmocka_unit_test(hang_up_counts_as_both),
        cmocka_unit_test(the_broken_end_of_a_pipe_is_writable),
        cmocka_unit_test(a_half_closed_peer_makes_a_reader_read_the_end),
        cmocka_unit_test(a_second_call_replaces_the_callback),
        cmocka_unit_test(removals_tell_whether_there_was_one),
        cmocka_unit_test(a_reader_replaced_while_its_call_is_due_is_called_in_the_new_way),
        cmocka_unit_test(what_one_callback_removes_is_not_called_in_the_same_pass),
        cmocka_unit_test(a_number_reused_in_the_same_pass_does_not_get_the_old_events),
        cmocka_unit_test(a_callback_may_remove_and_add_itself),
        cmocka_unit_test(a_watched_fd_can_be_awaited_too),
        cmocka_unit_test(removing_the_reader_leaves_the_task_waiting),
        cmocka_unit_test(a_cancelled_wait_leaves_the_watcher_as_it_was),
        cmocka_unit_test(an_own_fd_can_be_watched_and_read_by_a_task_afterwards),
        cmocka_unit_test(an_own_fd_is_watched_while_a_task_reads_it),
        cmocka_unit_test(closing_an_own_fd_ends_its_watchers),
        cmocka_unit_test(bad_fds_are_refused),
        cmocka_unit_test(a_regular_file_is_refused_and_a_device_is_not_lost),
        cmocka_unit_test(without_memory_a_watcher_is_refused_and_the_other_direction_stays),
        cmocka_unit_test(a_refused_replacement_leaves_the_old_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
