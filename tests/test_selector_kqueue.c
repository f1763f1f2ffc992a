/* The selector on kqueue: changes that wait for the next wait, numbers that become other files
 * meanwhile, and what the systems do differently. */
#include "test_selector.h"

#include <sys/types.h>

#include <sys/event.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

/* Calls of kevent since the last time this was asked; only our own kqueue counts them. */
#ifdef TESTS_KQUEUE_SYS_EVENT_H
unsigned long shim_calls(void);

static unsigned long calls(void)
{
    static unsigned long before;
    unsigned long now = shim_calls(), n = now - before;
    before = now;
    return n;
}
#define EXPECT_CALLS(n) assert_int_equal(calls(), n)
#else
static void calls(void)
{
}
#define EXPECT_CALLS(n) ((void)0)
#endif

enum { OWN = SELECT_READ | SELECT_WRITE | SELECT_EDGE };

static void take_all(void)
{
    while (ops->wait(s, 0, events, 64) > 0)
        ;
}

/* --- When changes are made -------------------------------------------------------------------- */

static void own_fds_are_registered_with_the_wait(void **state)
{
    (void)state;
    calls();
    assert_int_equal(ops->add(s, fds[0], OWN, 1), 0);
    assert_int_equal(ops->add(s, fds[1], OWN, 1), 0);
    EXPECT_CALLS(0);
    assert_int_equal(ops->wait(s, 0, events, 64), 2);
    EXPECT_CALLS(1);
    fill(fds[1], 1);
    expect_one(fds[0], 1, SELECT_READ);
    EXPECT_CALLS(1);
}

static void a_foreign_fd_is_armed_again_with_the_wait(void **state)
{
    (void)state;
    fill(fds[1], 1);
    calls();
    assert_int_equal(ops->add(s, fds[0], SELECT_READ | SELECT_ONCE, 1), 0);
    EXPECT_CALLS(1); /* it must be known which file is meant */
    expect_one(fds[0], 1, SELECT_READ);
    calls();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ops->modify(s, fds[0], SELECT_READ | SELECT_ONCE, 1), 0);
        expect_one(fds[0], 1, SELECT_READ);
        EXPECT_CALLS(1);
    }
}

static void what_changes_twice_is_changed_once(void **state)
{
    (void)state;
    fill(fds[1], 1);
    assert_int_equal(ops->add(s, fds[0], OWN, 1), 0);
    ops->forget(s, fds[0]);
    assert_int_equal(ops->add(s, fds[0], OWN, 2), 0);
    assert_int_equal(ops->modify(s, fds[0], SELECT_READ | SELECT_ONCE, 2), 0);
    calls();
    expect_one(fds[0], 2, SELECT_READ);
    EXPECT_CALLS(1);
    expect_nothing();
}

static void an_exported_kqueue_is_changed_at_once(void **state)
{
    (void)state;
    struct pollfd p = {.fd = -1, .events = POLLIN};
    int more[2];
    make_pipe(more);
    assert_int_equal(ops->add(s, fds[0], OWN, 1), 0);
    p.fd = ops->fd(s);
    assert_int_equal(poll(&p, 1, 0), 1); /* writable */
    take_all();
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_equal(ops->add(s, more[0], OWN, 1), 0);
    fill(more[1], 1);
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_int_equal(ops->wait(s, 0, events, 64), 1);
    assert_int_equal(ops->modify(s, more[0], SELECT_READ | SELECT_ONCE, 1), 0);
    assert_int_equal(poll(&p, 1, 10000), 1);
    close(more[0]);
    close(more[1]);
}

static void more_changes_than_a_list_holds_are_all_made(void **state)
{
    (void)state;
    enum { MANY = 400 };
    static struct selector_event told[MANY];
    int ends[MANY][2], seen = 0;
    for (int i = 0; i < MANY; i++) {
        make_pipe(ends[i]);
        assert_int_equal(ops->add(s, ends[i][0], SELECT_READ | SELECT_EDGE, 1), 0);
        fill(ends[i][1], 1);
    }
    for (int n = 0; (n = ops->wait(s, 0, told, MANY)) > 0; seen += n)
        for (int i = 0; i < n; i++)
            assert_int_equal(told[i].ready, SELECT_READ);
    assert_int_equal(seen, MANY);
    for (int i = 0; i < MANY; i++) {
        close(ends[i][0]);
        close(ends[i][1]);
    }
}

/* One of the fds is closed before it is registered. */
static void with_room_for_one_event_all_changes_are_made(void **state)
{
    (void)state;
    int gone[2], told = 0, invalid = 0;
    make_pipe(gone);
    assert_int_equal(ops->add(s, fds[0], SELECT_WRITE | SELECT_EDGE, 1), 0);
    assert_int_equal(ops->add(s, gone[0], OWN, 1), 0);
    assert_int_equal(ops->add(s, fds[1], SELECT_WRITE | SELECT_EDGE, 1), 0);
    close(gone[0]);
    while (ops->wait(s, 0, events, 1) == 1) {
        assert_true(events[0].ready & SELECT_INVALID ? events[0].fd == gone[0] : ++told);
        invalid += events[0].ready & SELECT_INVALID ? 1 : 0;
    }
    assert_int_equal(told, 2);
    assert_int_equal(invalid, 1);
    close(gone[1]);
}

static void closed_before_it_was_registered_is_told_by_an_exported_kqueue_too(void **state)
{
    (void)state;
    assert_int_equal(ops->add(s, fds[0], OWN, 1), 0);
    close(fds[0]);
    assert_true(ops->fd(s) >= 0);
    assert_int_equal(ops->wait(s, WAIT_MAX, events, 64), 1);
    assert_int_equal(events[0].fd, fds[0]);
    assert_true(events[0].ready & SELECT_INVALID);
    expect_nothing();
}

static void the_kind_of_a_registration_can_change(void **state)
{
    (void)state;
    fill(fds[1], 1);
    assert_int_equal(ops->add(s, fds[0], SELECT_READ, 1), 0);
    for (int round = 0; round < 2; round++) {
        expect_one(fds[0], 1, SELECT_READ);
        expect_one(fds[0], 1, SELECT_READ);
        assert_int_equal(ops->modify(s, fds[0], SELECT_READ | SELECT_ONCE, 1), 0);
        expect_one(fds[0], 1, SELECT_READ);
        expect_nothing();
        assert_int_equal(ops->modify(s, fds[0], OWN, 1), 0);
        expect_one(fds[0], 1, SELECT_READ | SELECT_WRITE);
        expect_nothing();
        fill(fds[1], 1);
        expect_one(fds[0], 1, SELECT_READ);
        assert_int_equal(ops->modify(s, fds[0], SELECT_READ, 1), 0);
    }
}

static void spent_by_one_direction_it_tells_nothing_of_the_other(void **state)
{
    (void)state;
    unsigned both = SELECT_READ | SELECT_WRITE;
    assert_int_equal(ops->add(s, fds[0], both | SELECT_ONCE, 1), 0);
    expect_one(fds[0], 1, SELECT_WRITE);
    fill(fds[1], 1);
    expect_nothing();
    assert_int_equal(ops->modify(s, fds[0], both | SELECT_ONCE, 1), 0);
    expect_one(fds[0], 1, both);
    expect_nothing();
}

/* --- Closed and replaced meanwhile ------------------------------------------------------------ */

static void closed_before_it_was_registered_is_told_as_invalid(void **state)
{
    (void)state;
    assert_int_equal(ops->add(s, fds[0], OWN, 1), 0);
    close(fds[0]);
    assert_int_equal(ops->wait(s, WAIT_MAX, events, 64), 1);
    assert_int_equal(events[0].fd, fds[0]);
    assert_true(events[0].ready & SELECT_INVALID);
    expect_nothing();
}

static void closed_before_it_is_armed_again_is_told_as_invalid(void **state)
{
    (void)state;
    assert_int_equal(ops->add(s, fds[0], SELECT_WRITE | SELECT_ONCE, 1), 0);
    expect_one(fds[0], 1, SELECT_WRITE);
    assert_int_equal(ops->modify(s, fds[0], SELECT_WRITE | SELECT_ONCE, 1), 0);
    close(fds[0]);
    assert_int_equal(ops->wait(s, WAIT_MAX, events, 64), 1);
    assert_true(events[0].ready & SELECT_INVALID);
    expect_nothing();
}

static void replaced_by_another_file_it_is_registered_anew(void **state)
{
    (void)state;
    int others[2];
    make_socketpair(others);
    assert_int_equal(ops->add(s, fds[0], SELECT_READ | SELECT_ONCE, 1), 0);
    fill(fds[1], 1);
    expect_one(fds[0], 1, SELECT_READ);
    assert_int_equal(dup2(others[0], fds[0]), fds[0]);
    assert_int_equal(ops->modify(s, fds[0], SELECT_READ | SELECT_ONCE, 1), 0);
    expect_nothing();
    fill(others[1], 1);
    expect_one(fds[0], 1, SELECT_READ);
    expect_nothing();
    close(others[0]);
    close(others[1]);
}

static void check_replaced_by_a_regular_file(unsigned before)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    fill(fds[1], 1);
    assert_int_equal(ops->add(s, fds[0], before | SELECT_ONCE, 1), 0);
    expect_one(fds[0], 1, before);
    assert_int_equal(dup2(fileno(file), fds[0]), fds[0]);
    int rc = ops->modify(s, fds[0], SELECT_READ | SELECT_ONCE, 1);
    if (rc == 0) {
        assert_int_equal(ops->wait(s, WAIT_MAX, events, 64), 1);
        assert_true(events[0].ready & SELECT_READ);
    } else {
        assert_int_equal(rc, -ENOENT);
        assert_int_equal(ops->add(s, fds[0], SELECT_READ | SELECT_ONCE, 2), -EPERM);
    }
    expect_nothing();
    fclose(file);
}

static void replaced_by_a_regular_file_it_is_ready(void **state)
{
    (void)state;
    check_replaced_by_a_regular_file(SELECT_READ);
}

static void replaced_by_a_regular_file_it_is_ready_also_for_a_new_direction(void **state)
{
    (void)state;
    check_replaced_by_a_regular_file(SELECT_WRITE);
}

static void what_is_forgotten_is_not_registered(void **state)
{
    (void)state;
    int gone = fds[0];
    assert_int_equal(ops->add(s, gone, OWN, 1), 0);
    ops->forget(s, gone);
    expect_nothing();
    assert_int_equal(ops->check(s, gone, SELECT_READ), -ENOENT);
    assert_int_equal(ops->remove(s, gone), -ENOENT);
    ops->forget(s, 1 << 20); /* of which nothing was known */
}

/* --- Errors ----------------------------------------------------------------------------------- */

static void check_pipe_without_reader(unsigned kind, int times)
{
    int ends[2];
    make_pipe(ends);
    close(ends[0]);
    assert_int_equal(ops->add(s, ends[1], SELECT_WRITE | kind, 1), 0);
    for (int i = 0; i < times; i++)
        expect_one(ends[1], 1, SELECT_WRITE | SELECT_HANGUP);
    if (times == 1)
        expect_nothing();
    ops->forget(s, ends[1]);
    close(ends[1]);
}

static void a_pipe_that_has_no_reader_when_it_is_registered_is_ready(void **state)
{
    (void)state;
    check_pipe_without_reader(SELECT_ONCE, 1);
    check_pipe_without_reader(SELECT_EDGE, 1);
    check_pipe_without_reader(0, 3);
}

static void what_a_kqueue_does_not_take_is_refused_or_watched(void **state)
{
    (void)state;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    static const unsigned kinds[] = {SELECT_ONCE, SELECT_EDGE, 0};
    for (int i = 0; i < 3; i++) {
        int rc = ops->add(s, null, SELECT_READ | kinds[i], 1);
        assert_true(rc == -EPERM || rc == 0);
        ops->forget(s, null);
    }
    take_all();
    close(null);
}

#if defined __linux__ && defined EV_OOBAND
static void urgent_data_is_more_to_read(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0), ends[2];
    assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    ends[1] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(ends[1], (struct sockaddr *)&address, length), 0);
    ends[0] = accept(listener, NULL, NULL);
    assert_int_equal(ops->add(s, ends[0], OWN, 1), 0);
    expect_one(ends[0], 1, SELECT_WRITE);
    assert_int_equal(send(ends[1], "u", 1, MSG_OOB), 1);
    assert_int_equal(ops->wait(s, WAIT_MAX, events, 64), 1);
    assert_true(events[0].ready & SELECT_READ);
    assert_true(events[0].ready & SELECT_HANGUP);
    close(listener);
    close(ends[0]);
    close(ends[1]);
}
#endif

/* --- Waking ----------------------------------------------------------------------------------- */

static void *wake_later(void *arg)
{
    usleep(2000);
    assert_int_equal(ops->wake(s), 0);
    return arg;
}

static void many_wakes_are_one_event_of_generation_0(void **state)
{
    (void)state;
    pthread_t thread;
    if (!ops->wake)
        skip(); /* a system without user events */
    for (int i = 0; i < 3; i++)
        assert_int_equal(ops->wake(s), 0);
    expect_one(-1, 0, 0);
    expect_nothing();
    assert_int_equal(pthread_create(&thread, NULL, wake_later, NULL), 0);
    expect_one(-1, 0, 0);
    pthread_join(thread, NULL);
    assert_int_equal(ops->reset(s), 0);
    assert_int_equal(ops->wake(s), 0);
    expect_one(-1, 0, 0);
}

static void on_signal(int signo)
{
    (void)signo;
    ops->wake(s);
}

static void a_signal_handler_wakes(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_signal};
    if (!ops->wake)
        skip();
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    expect_one(-1, 0, 0);
    signal(SIGUSR1, SIG_DFL);
}

/* --- Forks ------------------------------------------------------------------------------------ */

/* The child does not have the kqueue, and its number may be a file of the child's own. */
static void a_child_that_closes_the_selector_closes_nothing_of_its_own(void **state)
{
    (void)state;
    int number = ops->fd(s), status = -1;
    pid_t child = fork();
    if (child == 0) {
        bool had_it = fcntl(number, F_GETFD) >= 0;
        dup2(fds[0], number);
        ops->close(s);
        _exit(had_it ? 1 : fcntl(number, F_GETFD) >= 0 ? 0 : 2);
    }
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(ops->add(s, fds[0], SELECT_WRITE, 1), 0);
    expect_one(fds[0], 1, SELECT_WRITE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_KQUEUE(own_fds_are_registered_with_the_wait),
        ON_KQUEUE(a_foreign_fd_is_armed_again_with_the_wait),
        ON_KQUEUE(what_changes_twice_is_changed_once),
        ON_KQUEUE(an_exported_kqueue_is_changed_at_once),
        ON_KQUEUE(more_changes_than_a_list_holds_are_all_made),
        ON_KQUEUE(with_room_for_one_event_all_changes_are_made),
        ON_KQUEUE(closed_before_it_was_registered_is_told_by_an_exported_kqueue_too),
        ON_KQUEUE(the_kind_of_a_registration_can_change),
        ON_KQUEUE(spent_by_one_direction_it_tells_nothing_of_the_other),
        ON_KQUEUE(closed_before_it_was_registered_is_told_as_invalid),
        ON_KQUEUE(closed_before_it_is_armed_again_is_told_as_invalid),
        ON_KQUEUE(replaced_by_another_file_it_is_registered_anew),
        ON_KQUEUE(replaced_by_a_regular_file_it_is_ready),
        ON_KQUEUE(replaced_by_a_regular_file_it_is_ready_also_for_a_new_direction),
        ON_KQUEUE(what_is_forgotten_is_not_registered),
        ON_KQUEUE(a_pipe_that_has_no_reader_when_it_is_registered_is_ready),
        ON_KQUEUE(what_a_kqueue_does_not_take_is_refused_or_watched),
#if defined __linux__ && defined EV_OOBAND
        ON_KQUEUE(urgent_data_is_more_to_read),
#endif
        ON_KQUEUE(many_wakes_are_one_event_of_generation_0),
        ON_KQUEUE(a_signal_handler_wakes),
        ON_KQUEUE(a_child_that_closes_the_selector_closes_nothing_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
