/* The selectors: what is told of an fd, how often, and what becomes of one that is closed. */
#include "test_selector.h"

#include <fcntl.h>
#include <stdio.h>

static bool closed_file_is_forgotten(void)
{
    return !is("poll"); /* it is asked by number each time */
}

/* --- Which there are -------------------------------------------------------------------------- */

static void backends_are_found_by_name(void **state)
{
    (void)state;
    static const char *const names[] = {"epoll", "kqueue", "poll"}; /* the best first */
    const struct selector_ops *best = NULL;
    for (int i = 0; i < 3; i++) {
        const struct selector_ops *found = coloop__selector_find(names[i]);
        if (found)
            assert_string_equal(found->name, names[i]);
        best = best ? best : found;
    }
    assert_ptr_equal(coloop__selector_find("poll"), &coloop__selector_poll);
    assert_ptr_equal(coloop__selector_find(NULL), best);
    assert_true(best->edge);
    assert_null(coloop__selector_find(""));
    assert_null(coloop__selector_find("epol"));
}

/* --- Interests -------------------------------------------------------------------------------- */

static void each_direction_is_told_if_asked_for(void **state)
{
    (void)state;
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 1), 0);
    expect_nothing();
    fill(fds[1], 1);
    expect_one(fds[0], 1, SELECT_READ);
    assert_int_equal(ops->modify(s, fds[0], SELECT_WRITE, 1), 0);
    expect_one(fds[0], 1, SELECT_WRITE);
    assert_int_equal(ops->modify(s, fds[0], SELECT_READ | SELECT_WRITE, 1), 0);
    expect_one(fds[0], 1, SELECT_READ | SELECT_WRITE);
}

static void a_level_is_told_at_every_wait(void **state)
{
    (void)state;
    char byte;
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 7), 0);
    fill(fds[1], 1);
    for (int i = 0; i < 3; i++)
        expect_one(fds[0], 7, SELECT_READ);
    assert_int_equal(read(fds[0], &byte, 1), 1);
    expect_nothing();
}

static void once_is_told_once_until_armed_again(void **state)
{
    (void)state;
    assert_int_equal(ops->add(s, fds[0], SELECT_READ | SELECT_ONCE, 2), 0);
    expect_nothing();
    fill(fds[1], 1);
    expect_one(fds[0], 2, SELECT_READ);
    expect_nothing();
    fill(fds[1], 1);
    expect_nothing();
    int64_t start = clock_real_now();
    assert_int_equal(ops->wait(s, NS_PER_MS, events, 64), 0);
    assert_true(clock_real_now() - start >= NS_PER_MS); /* it does not end a wait either */
    assert_int_equal(ops->modify(s, fds[0], SELECT_READ | SELECT_ONCE, 2), 0);
    expect_one(fds[0], 2, SELECT_READ);
    expect_nothing();
}

static void once_is_spent_by_a_hang_up_too(void **state)
{
    (void)state;
    assert_int_equal(ops->add(s, fds[0], SELECT_READ | SELECT_ONCE, 2), 0);
    close(fds[1]);
    fds[1] = -1;
    assert_int_equal(ops->wait(s, WAIT_MAX, events, 64), 1);
    assert_true(events[0].ready & SELECT_READ);
    expect_nothing();
}

static void an_edge_is_told_once_for_each_arrival(void **state)
{
    (void)state;
    assert_true(ops->edge);
    assert_int_equal(ops->add(s, fds[0], SELECT_READ | SELECT_WRITE | SELECT_EDGE, 3), 0);
    expect_one(fds[0], 3, SELECT_WRITE);
    expect_nothing();
    for (int i = 0; i < 3; i++) { /* also while the earlier bytes have not been read */
        fill(fds[1], 1);
        assert_int_equal(ops->wait(s, WAIT_MAX, events, 64), 1);
        assert_true(events[0].ready & SELECT_READ);
        expect_nothing();
    }
}

static void an_interest_in_nothing_is_silent(void **state)
{
    (void)state;
    fill(fds[1], 1);
    assert_int_equal(ops->add(s, fds[0], 0, 1), 0);
    expect_nothing();
    assert_int_equal(ops->modify(s, fds[0], SELECT_READ, 1), 0);
    expect_one(fds[0], 1, SELECT_READ);
    assert_int_equal(ops->modify(s, fds[0], 0, 1), 0);
    expect_nothing();
}

static void a_removed_fd_is_silent_and_may_come_back(void **state)
{
    (void)state;
    fill(fds[1], 1);
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 1), 0);
    assert_int_equal(ops->remove(s, fds[0]), 0);
    expect_nothing();
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 2), 0);
    expect_one(fds[0], 2, SELECT_READ);
}

/* --- Ends and errors -------------------------------------------------------------------------- */

static void the_end_of_a_stream_is_readable(void **state)
{
    (void)state;
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 1), 0);
    assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
    assert_int_equal(ops->wait(s, WAIT_MAX, events, 64), 1);
    assert_int_equal(events[0].ready & (SELECT_READ | SELECT_WRITE), SELECT_READ);
    if (ops->edge) /* only with edges it matters that reading again helps */
        assert_true(events[0].ready & SELECT_HANGUP);
}

static void a_hang_up_is_told_with_both_directions(void **state)
{
    (void)state;
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 1), 0);
    close(fds[1]);
    fds[1] = -1;
    expect_hang_up(fds[0], 1, SELECT_READ);
    assert_int_equal(ops->modify(s, fds[0], SELECT_WRITE, 1), 0);
    expect_hang_up(fds[0], 1, SELECT_WRITE);
}

static void a_pipe_without_reader_is_an_error_for_its_writer(void **state)
{
    (void)state;
    int ends[2];
    char block[4096] = {0};
    make_pipe(ends);
    while (write(ends[1], block, sizeof block) > 0)
        ;
    assert_int_equal(ops->add(s, ends[1], SELECT_WRITE, 1), 0);
    expect_nothing();
    close(ends[0]);
    expect_hang_up(ends[1], 1, SELECT_WRITE);
    close(ends[1]);
}

static void a_pipe_without_writer_is_ready_for_its_reader(void **state)
{
    (void)state;
    int ends[2];
    make_pipe(ends);
    assert_int_equal(ops->add(s, ends[0], SELECT_READ | SELECT_ONCE, 1), 0);
    close(ends[1]);
    expect_hang_up(ends[0], 1, SELECT_READ);
    expect_nothing();
    close(ends[0]);
}

static void what_is_no_fd_cannot_be_added(void **state)
{
    (void)state;
    int gone = dup(fds[0]);
    close(gone);
    assert_int_equal(ops->add(s, gone, SELECT_READ, 1), -EBADF);
    assert_int_equal(ops->add(s, -1, SELECT_READ, 1), -EBADF);
    expect_nothing();
}

static void regular_files_and_directories_are_refused(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    int directory = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(ops->add(s, fileno(file), SELECT_READ, 1), -EPERM);
    assert_int_equal(ops->add(s, directory, SELECT_READ, 1), -EPERM);
    expect_nothing();
    fclose(file);
    close(directory);
}

static void who_is_registered_is_known_where_the_system_knows(void **state)
{
    (void)state;
    assert_int_equal(ops->modify(s, fds[0], SELECT_READ, 1), -ENOENT);
    assert_int_equal(ops->remove(s, fds[0]), -ENOENT);
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 1), 0);
    if (is("epoll"))
        assert_int_equal(ops->add(s, fds[0], SELECT_WRITE, 2), -EEXIST);
    fill(fds[1], 1);
    expect_one(fds[0], 1, SELECT_READ); /* the refused one changed nothing */
}

static void a_check_tells_without_any_effect(void **state)
{
    (void)state;
    int gone = dup(fds[0]);
    close(gone);
    assert_int_equal(ops->check(s, gone, SELECT_READ), -EBADF);
    assert_int_equal(ops->check(s, fds[0], SELECT_READ), -ENOENT);
    assert_int_equal(ops->check(s, fds[0], SELECT_READ), -ENOENT);
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 9), 0);
    assert_int_equal(ops->check(s, fds[0], SELECT_READ), 0);
    fill(fds[1], 1);
    expect_one(fds[0], 9, SELECT_READ);
    assert_int_equal(ops->modify(s, fds[0], SELECT_READ | SELECT_ONCE, 9), 0);
    expect_one(fds[0], 9, SELECT_READ);
    assert_int_equal(ops->check(s, fds[0], SELECT_READ), 0); /* spent is still known */
    expect_nothing();
}

/* A number that is a regular file by now, which can never have been registered. */
static void a_check_of_a_number_that_is_a_file_now_says_not_registered(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 1), 0);
    assert_int_equal(dup2(fileno(file), fds[0]), fds[0]);
    assert_int_equal(ops->check(s, fds[0], SELECT_READ), -ENOENT);
    fclose(file);
}

/* --- Closed behind its back ------------------------------------------------------------------- */

static void a_closed_fd_is_silent_or_invalid(void **state)
{
    (void)state;
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 4), 0);
    fill(fds[1], 1);
    close(fds[0]);
    int n = ops->wait(s, 0, events, 64);
    assert_int_equal(n, closed_file_is_forgotten() ? 0 : 1);
    if (n) {
        assert_int_equal(events[0].fd, fds[0]);
        assert_true(events[0].ready & SELECT_INVALID);
    }
    fds[0] = -1;
}

static void a_duplicate_keeps_the_registration_of_a_closed_fd(void **state)
{
    (void)state;
    int copy = dup(fds[0]), gone = fds[0];
    assert_int_equal(ops->add(s, gone, SELECT_READ, 5), 0);
    close(gone);
    fill(fds[1], 1);
    expect_one(gone, 5, SELECT_READ); /* a ghost: its number may be another file */
    assert_int_equal(ops->modify(s, gone, SELECT_READ, 6), -EBADF);
    assert_int_equal(ops->remove(s, gone), -EBADF);
    assert_int_equal(ops->reset(s), 0);
    expect_nothing();
    fds[0] = copy;
}

static void a_duplicate_does_not_keep_the_registration_of_a_closed_fd(void **state)
{
    (void)state;
    int copy = dup(fds[0]), gone = fds[0];
    assert_int_equal(ops->add(s, gone, SELECT_READ, 5), 0);
    close(gone);
    fill(fds[1], 1);
    expect_nothing();
    assert_int_equal(ops->check(s, gone, SELECT_READ), -EBADF);
    assert_int_equal(ops->modify(s, gone, SELECT_READ, 5), -EBADF);
    assert_int_equal(dup2(copy, gone), gone); /* the same file, but not registered */
    expect_nothing();
    assert_int_equal(ops->check(s, gone, SELECT_READ), -ENOENT);
    close(copy);
}

static void a_reused_number_is_another_file(void **state)
{
    (void)state;
    int others[2], number = fds[0];
    make_socketpair(others);
    assert_int_equal(ops->add(s, number, SELECT_READ, 1), 0);
    assert_int_equal(dup2(others[0], number), number);
    assert_int_equal(ops->check(s, number, SELECT_READ), -ENOENT);
    assert_int_equal(ops->modify(s, number, SELECT_READ, 2), -ENOENT);
    assert_int_equal(ops->add(s, number, SELECT_READ, 2), 0);
    fill(others[1], 1);
    expect_one(number, 2, SELECT_READ);
    close(others[0]);
    close(others[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backends_are_found_by_name),
        ON_ALL(each_direction_is_told_if_asked_for),
        ON_ALL(a_level_is_told_at_every_wait),
        ON_ALL(once_is_told_once_until_armed_again),
        ON_ALL(once_is_spent_by_a_hang_up_too),
        ON_EDGE(an_edge_is_told_once_for_each_arrival),
        ON_ALL(an_interest_in_nothing_is_silent),
        ON_ALL(a_removed_fd_is_silent_and_may_come_back),
        ON_ALL(the_end_of_a_stream_is_readable),
        ON_ALL(a_hang_up_is_told_with_both_directions),
        ON_ALL(a_pipe_without_reader_is_an_error_for_its_writer),
        ON_ALL(a_pipe_without_writer_is_ready_for_its_reader),
        ON_ALL(what_is_no_fd_cannot_be_added),
        ON_ALL(regular_files_and_directories_are_refused),
        ON_EDGE(who_is_registered_is_known_where_the_system_knows),
        ON_EDGE(a_check_tells_without_any_effect),
        ON_EDGE(a_check_of_a_number_that_is_a_file_now_says_not_registered),
        ON_ALL(a_closed_fd_is_silent_or_invalid),
        ON_EPOLL(a_duplicate_keeps_the_registration_of_a_closed_fd),
        ON_KQUEUE(a_duplicate_does_not_keep_the_registration_of_a_closed_fd),
        ON_EDGE(a_reused_number_is_another_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
