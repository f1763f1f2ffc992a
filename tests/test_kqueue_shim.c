/* kqueue and kevent as the manual page describes them, of which the tests on Linux have their own.
 * On a system that has them, its own are tested: that is how ours should behave. */
#include "test_kqueue_shim.h"

#include <poll.h>

/* --- Registering and receiving ---------------------------------------------------------------- */

static void an_event_tells_what_was_registered_and_how_much_there_is(void **state)
{
    (void)state;
    assert_int_equal(change(fds[0], EVFILT_READ, EV_ADD, 0, 0, &fds), 0);
    expect_none();
    assert_int_equal(write(fds[1], "abc", 3), 3);
    expect(fds[0], EVFILT_READ);
    assert_int_equal(got[0].data, 3);
    assert_ptr_equal(got[0].udata, &fds);
    assert_int_equal(got[0].flags & (EV_ERROR | EV_EOF), 0);
}

static void an_event_is_told_until_its_reason_is_gone(void **state)
{
    (void)state;
    char bytes[8];
    add(fds[0], EVFILT_READ, 0);
    assert_int_equal(write(fds[1], "abc", 3), 3);
    for (int i = 0; i < 3; i++)
        expect(fds[0], EVFILT_READ);
    assert_int_equal(read(fds[0], bytes, sizeof bytes), 3);
    expect_none();
}

static void room_to_write_is_an_event(void **state)
{
    (void)state;
    char block[4096] = {0};
    add(fds[0], EVFILT_WRITE, 0);
    expect(fds[0], EVFILT_WRITE);
    assert_true(got[0].data > 0);
    while (write(fds[0], block, sizeof block) > 0)
        ;
    expect_none();
    while (read(fds[1], block, sizeof block) > 0)
        ;
    expect(fds[0], EVFILT_WRITE);
}

static void the_filters_of_one_fd_know_nothing_of_each_other(void **state)
{
    (void)state;
    assert_int_equal(change(fds[0], EVFILT_READ, EV_ADD, 0, 0, &fds[0]), 0);
    assert_int_equal(change(fds[0], EVFILT_WRITE, EV_ADD | EV_CLEAR, 0, 0, &fds[1]), 0);
    expect(fds[0], EVFILT_WRITE);
    assert_ptr_equal(got[0].udata, &fds[1]);
    expect_none();
    assert_int_equal(write(fds[1], "a", 1), 1);
    expect(fds[0], EVFILT_READ);
    assert_ptr_equal(got[0].udata, &fds[0]);
    expect(fds[0], EVFILT_READ);
    assert_int_equal(change(fds[0], EVFILT_READ, EV_DELETE, 0, 0, NULL), 0);
    assert_int_equal(change(fds[0], EVFILT_READ, EV_DELETE, 0, 0, NULL), ENOENT);
    assert_int_equal(change(fds[0], EVFILT_WRITE, EV_DELETE, 0, 0, NULL), 0);
}

static void adding_again_alters_and_does_not_double(void **state)
{
    (void)state;
    assert_int_equal(change(fds[0], EVFILT_READ, EV_ADD, 0, 0, &fds[0]), 0);
    assert_int_equal(write(fds[1], "a", 1), 1);
    assert_int_equal(change(fds[0], EVFILT_READ, EV_ADD, 0, 0, &fds[1]), 0);
    expect(fds[0], EVFILT_READ);
    assert_ptr_equal(got[0].udata, &fds[1]);
}

static void no_more_events_are_told_than_there_is_room_for(void **state)
{
    (void)state;
    int seen[2] = {0, 0};
    add(fds[0], EVFILT_WRITE, 0);
    add(fds[1], EVFILT_WRITE, 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(kevent(kq, NULL, 0, got, 1, &soon), 1);
        seen[got[0].ident == (uintptr_t)fds[1]]++;
    }
    assert_true(seen[0] > 0 && seen[1] > 0);
    assert_int_equal(kevent(kq, NULL, 0, got, 2, &soon), 2);
}

static void with_room_for_one_the_filters_take_turns(void **state)
{
    (void)state;
    int seen[2] = {0, 0};
    add(fds[0], EVFILT_WRITE, 0);
    add(fds[0], EVFILT_READ, 0);
    assert_int_equal(write(fds[1], "a", 1), 1);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(kevent(kq, NULL, 0, got, 1, &soon), 1);
        seen[got[0].filter == EVFILT_READ]++;
    }
    assert_true(seen[0] > 0 && seen[1] > 0);
}

/* --- Flags ------------------------------------------------------------------------------------ */

static void cleared_after_being_told(void **state)
{
    (void)state;
    add(fds[0], EVFILT_READ, EV_CLEAR);
    for (int i = 1; i <= 3; i++) { /* also while the earlier bytes are still there */
        assert_int_equal(write(fds[1], "a", 1), 1);
        expect(fds[0], EVFILT_READ);
        assert_int_equal(got[0].data, i);
        expect_none();
    }
}

static void oneshot_is_deleted_by_being_told(void **state)
{
    (void)state;
    add(fds[0], EVFILT_WRITE, EV_ONESHOT);
    expect(fds[0], EVFILT_WRITE);
    expect_none();
    assert_int_equal(change(fds[0], EVFILT_WRITE, EV_ENABLE, 0, 0, NULL), ENOENT);
    assert_int_equal(change(fds[0], EVFILT_WRITE, EV_DELETE, 0, 0, NULL), ENOENT);
    add(fds[0], EVFILT_WRITE, EV_ONESHOT);
    expect(fds[0], EVFILT_WRITE);
}

static void disabled_is_silent_and_not_gone(void **state)
{
    (void)state;
    add(fds[0], EVFILT_READ, EV_DISABLE);
    assert_int_equal(write(fds[1], "a", 1), 1);
    expect_none();
    assert_int_equal(change(fds[0], EVFILT_READ, EV_ENABLE, 0, 0, NULL), 0);
    expect(fds[0], EVFILT_READ);
    assert_int_equal(change(fds[0], EVFILT_READ, EV_DISABLE, 0, 0, NULL), 0);
    expect_none();
    add(fds[0], EVFILT_READ, 0); /* which enables */
    expect(fds[0], EVFILT_READ);
}

#ifdef EV_DISPATCH
static void dispatch_is_disabled_by_being_told(void **state)
{
    (void)state;
    add(fds[0], EVFILT_READ, EV_DISPATCH);
    assert_int_equal(write(fds[1], "a", 1), 1);
    expect(fds[0], EVFILT_READ);
    assert_int_equal(write(fds[1], "b", 1), 1);
    expect_none();
    assert_int_equal(change(fds[0], EVFILT_READ, EV_ENABLE, 0, 0, NULL), 0);
    expect(fds[0], EVFILT_READ); /* what came before counts as well */
    assert_int_equal(got[0].data, 2);
    expect_none();
    assert_int_equal(change(fds[0], EVFILT_READ, EV_DELETE, 0, 0, NULL), 0);
}
#endif

#ifdef EV_RECEIPT
static void a_receipt_is_an_error_of_nought_and_keeps_events_back(void **state)
{
    (void)state;
    struct kevent changes[2];
    EV_SET(&changes[0], (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD | EV_RECEIPT, 0, 0, NULL);
    EV_SET(&changes[1], (uintptr_t)fds[0], EVFILT_READ, EV_ENABLE | EV_RECEIPT, 0, 0, NULL);
    assert_int_equal(kevent(kq, changes, 2, got, 8, &soon), 2);
    assert_true(got[0].flags & got[1].flags & EV_ERROR);
    assert_int_equal(got[0].data, 0);
    assert_int_equal(got[1].data, ENOENT);
    assert_int_equal(got[1].ident, fds[0]);
    assert_int_equal(got[1].filter, EVFILT_READ);
    expect(fds[0], EVFILT_WRITE);
}
#endif

/* --- Errors ----------------------------------------------------------------------------------- */

static void what_cannot_be_is_an_error(void **state)
{
    (void)state;
    int gone = dup(fds[0]);
    close(gone);
    assert_int_equal(change(gone, EVFILT_READ, EV_ADD, 0, 0, NULL), EBADF);
    assert_int_equal(change(fds[0], EVFILT_READ, EV_DELETE, 0, 0, NULL), ENOENT);
    assert_int_equal(change(fds[0], EVFILT_READ, EV_ENABLE, 0, 0, NULL), ENOENT);
    assert_int_equal(change(fds[0], -99, EV_ADD, 0, 0, NULL), EINVAL);
    errno = 0;
    assert_int_equal(kevent(fds[0], NULL, 0, got, 8, &none), -1);
    assert_int_equal(errno, EBADF);
}

static void with_room_an_error_is_an_event_and_the_others_are_made(void **state)
{
    (void)state;
    struct kevent changes[3];
    EV_SET(&changes[0], (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD, 0, 0, NULL);
    EV_SET(&changes[1], (uintptr_t)fds[0], EVFILT_READ, EV_DELETE, 0, 0, NULL);
    EV_SET(&changes[2], (uintptr_t)fds[1], EVFILT_WRITE, EV_ADD, 0, 0, NULL);
    assert_int_equal(kevent(kq, changes, 3, got, 8, &soon), 1);
    assert_true(got[0].flags & EV_ERROR);
    assert_int_equal(got[0].data, ENOENT);
    assert_int_equal(got[0].ident, fds[0]);
    assert_int_equal(got[0].filter, EVFILT_READ);
    assert_int_equal(kevent(kq, NULL, 0, got, 8, &soon), 2);
}

static void without_room_an_error_ends_the_call(void **state)
{
    (void)state;
    struct kevent changes[3];
    EV_SET(&changes[0], (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD, 0, 0, NULL);
    EV_SET(&changes[1], (uintptr_t)fds[0], EVFILT_READ, EV_DELETE, 0, 0, NULL);
    EV_SET(&changes[2], (uintptr_t)fds[1], EVFILT_WRITE, EV_ADD, 0, 0, NULL);
    assert_int_equal(kevent(kq, changes, 3, NULL, 0, &soon), -1);
    assert_int_equal(errno, ENOENT);
    expect(fds[0], EVFILT_WRITE);
}

/* --- Ends ------------------------------------------------------------------------------------- */

static void the_end_of_a_stream_is_flagged_while_bytes_are_left(void **state)
{
    (void)state;
    char byte;
    add(fds[0], EVFILT_READ, 0);
    assert_int_equal(write(fds[1], "a", 1), 1);
    assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
    expect(fds[0], EVFILT_READ);
    assert_true(got[0].flags & EV_EOF);
    assert_int_equal(got[0].data, 1);
    assert_int_equal(read(fds[0], &byte, 1), 1);
    expect(fds[0], EVFILT_READ);
    assert_true(got[0].flags & EV_EOF);
    add(fds[0], EVFILT_WRITE, 0); /* and the other direction is open */
    int n = kevent(kq, NULL, 0, got, 8, &soon);
    for (int i = 0; i < n; i++)
        assert_int_equal(!(got[i].flags & EV_EOF), got[i].filter == EVFILT_WRITE);
    assert_int_equal(n, 2);
}

static void a_peer_that_is_gone_is_an_end_for_both(void **state)
{
    (void)state;
    add(fds[0], EVFILT_READ, EV_CLEAR);
    add(fds[0], EVFILT_WRITE, EV_CLEAR);
    expect(fds[0], EVFILT_WRITE);
    close(fds[1]);
    fds[1] = -1;
    assert_int_equal(kevent(kq, NULL, 0, got, 8, &soon), 2);
    assert_true(got[0].flags & got[1].flags & EV_EOF);
    expect_none();
}

static void pipes_end_too(void **state)
{
    (void)state;
    int ends[2], more[2];
    make_pipe(ends);
    make_pipe(more);
    add(ends[0], EVFILT_READ, 0);
    add(more[1], EVFILT_WRITE, EV_CLEAR);
    expect(more[1], EVFILT_WRITE);
    close(ends[1]);
    expect(ends[0], EVFILT_READ);
    assert_true(got[0].flags & EV_EOF);
    close(ends[0]);
    close(more[0]);
    expect(more[1], EVFILT_WRITE);
    assert_true(got[0].flags & EV_EOF);
    close(more[1]);
}

/* --- Closing ---------------------------------------------------------------------------------- */

static void closing_the_number_takes_its_events_away(void **state)
{
    (void)state;
    int copy = dup(fds[0]);
    add(fds[0], EVFILT_READ, 0);
    add(copy, EVFILT_WRITE, EV_CLEAR);
    expect(copy, EVFILT_WRITE);
    close(fds[0]); /* and the file lives on */
    assert_int_equal(write(fds[1], "a", 1), 1);
    expect_none();
    assert_int_equal(dup2(copy, fds[0]), fds[0]);
    assert_int_equal(change(fds[0], EVFILT_READ, EV_ENABLE, 0, 0, NULL), ENOENT);
    assert_int_equal(change(copy, EVFILT_WRITE, EV_ENABLE, 0, 0, NULL), 0);
    close(copy);
}

static void closing_a_duplicate_takes_nothing_away(void **state)
{
    (void)state;
    int copy = dup(fds[0]);
    add(fds[0], EVFILT_READ, 0);
    close(copy);
    assert_int_equal(write(fds[1], "a", 1), 1);
    expect(fds[0], EVFILT_READ);
}

static void a_number_that_becomes_another_file_has_no_events(void **state)
{
    (void)state;
    int others[2], copy = dup(fds[0]); /* by which the old file lives on */
    make_socketpair(others);
    add(fds[0], EVFILT_READ, 0);
    assert_int_equal(write(fds[1], "a", 1), 1);
    assert_int_equal(dup2(others[0], fds[0]), fds[0]);
    assert_int_equal(write(others[1], "a", 1), 1);
    expect_none();
    assert_int_equal(change(fds[0], EVFILT_READ, EV_ENABLE, 0, 0, NULL), ENOENT);
    add(fds[0], EVFILT_READ, 0);
    expect(fds[0], EVFILT_READ);
    close(copy);
    close(others[0]);
    close(others[1]);
}

static void a_kqueue_that_is_closed_is_none(void **state)
{
    (void)state;
    int other = kqueue();
    assert_true(other >= 0);
    close(other);
    assert_int_equal(kevent(other, NULL, 0, got, 8, &none), -1);
    assert_int_equal(errno, EBADF);
    expect_none();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_KQ(an_event_tells_what_was_registered_and_how_much_there_is),
        ON_KQ(an_event_is_told_until_its_reason_is_gone),
        ON_KQ(room_to_write_is_an_event),
        ON_KQ(the_filters_of_one_fd_know_nothing_of_each_other),
        ON_KQ(adding_again_alters_and_does_not_double),
        ON_KQ(no_more_events_are_told_than_there_is_room_for),
        ON_KQ(with_room_for_one_the_filters_take_turns),
        ON_KQ(cleared_after_being_told),
        ON_KQ(oneshot_is_deleted_by_being_told),
        ON_KQ(disabled_is_silent_and_not_gone),
#ifdef EV_DISPATCH
        ON_KQ(dispatch_is_disabled_by_being_told),
#endif
#ifdef EV_RECEIPT
        ON_KQ(a_receipt_is_an_error_of_nought_and_keeps_events_back),
#endif
        ON_KQ(what_cannot_be_is_an_error),
        ON_KQ(with_room_an_error_is_an_event_and_the_others_are_made),
        ON_KQ(without_room_an_error_ends_the_call),
        ON_KQ(the_end_of_a_stream_is_flagged_while_bytes_are_left),
        ON_KQ(a_peer_that_is_gone_is_an_end_for_both),
        ON_KQ(pipes_end_too),
        ON_KQ(closing_the_number_takes_its_events_away),
        ON_KQ(closing_a_duplicate_takes_nothing_away),
        ON_KQ(a_number_that_becomes_another_file_has_no_events),
        ON_KQ(a_kqueue_that_is_closed_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
