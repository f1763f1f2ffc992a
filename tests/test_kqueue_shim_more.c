/* kqueue and kevent as the manual page describes them: user events, timers, waiting, and kqueues as
 * files. See test_kqueue_shim.c. */
#include "test_kqueue_shim.h"

#include "base/clock.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

/* --- User events ------------------------------------------------------------------------------ */

#ifdef EVFILT_USER
static void a_user_event_is_told_when_it_is_triggered(void **state)
{
    (void)state;
    assert_int_equal(change(7, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL), ENOENT);
    assert_int_equal(change(7, EVFILT_USER, EV_ADD, 0, 0, NULL), 0);
    expect_none();
    assert_int_equal(change(7, EVFILT_USER, 0, NOTE_TRIGGER, 0, fds), 0);
    expect(7, EVFILT_USER);
    expect(7, EVFILT_USER); /* until it is deleted */
    assert_ptr_equal(got[0].udata, fds);
    assert_int_equal(change(7, EVFILT_USER, EV_DELETE, 0, 0, NULL), 0);
    expect_none();
}

static void a_cleared_user_event_is_told_once_for_many_triggers(void **state)
{
    (void)state;
    assert_int_equal(change(7, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(change(7, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL), 0);
        assert_int_equal(change(7, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL), 0);
        expect(7, EVFILT_USER);
        expect_none();
    }
}

static void user_flags_are_combined_as_told(void **state)
{
    (void)state;
    assert_int_equal(change(7, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_FFCOPY | 0xc, 0, NULL), 0);
    assert_int_equal(change(7, EVFILT_USER, 0, NOTE_FFOR | 0x3, 0, NULL), 0);
    assert_int_equal(change(7, EVFILT_USER, 0, NOTE_FFAND | 0x6, 0, NULL), 0);
    assert_int_equal(change(7, EVFILT_USER, 0, NOTE_FFNOP | NOTE_TRIGGER | 0x9, 0, NULL), 0);
    expect(7, EVFILT_USER);
    assert_int_equal(got[0].fflags & NOTE_FFLAGSMASK, 0x6);
}

static void *trigger_later(void *arg)
{
    (void)arg;
    usleep(2000);
    assert_int_equal(change(7, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL), 0);
    return NULL;
}

static void a_trigger_of_another_thread_ends_a_wait(void **state)
{
    (void)state;
    pthread_t thread;
    assert_int_equal(change(7, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, trigger_later, NULL), 0);
    assert_int_equal(kevent(kq, NULL, 0, got, 8, NULL), 1);
    assert_int_equal(got[0].filter, EVFILT_USER);
    pthread_join(thread, NULL);
}

static void trigger_here(int signo)
{
    (void)signo;
    change(7, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
}

static void a_signal_handler_may_trigger(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = trigger_here};
    sigaction(SIGUSR1, &action, NULL);
    assert_int_equal(change(7, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL), 0);
    for (int i = 0; i < 100; i++) {
        raise(SIGUSR1);
        expect(7, EVFILT_USER);
    }
    signal(SIGUSR1, SIG_DFL);
}
#endif

/* --- Timers ----------------------------------------------------------------------------------- */

static void a_timer_comes_again_and_counts_what_was_missed(void **state)
{
    (void)state;
    int64_t start = clock_real_now();
    assert_int_equal(change(1, EVFILT_TIMER, EV_ADD, 0, 2, NULL), 0);
    expect(1, EVFILT_TIMER);
    assert_true(clock_real_now() - start >= 2 * NS_PER_MS);
    usleep(7000);
    expect(1, EVFILT_TIMER);
    assert_true(got[0].data >= 3);
    assert_int_equal(change(1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL), 0);
    expect_none();
}

#ifdef NOTE_NSECONDS
static void a_oneshot_timer_in_nanoseconds_comes_once(void **state)
{
    (void)state;
    int64_t start = clock_real_now();
    assert_int_equal(change(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS, 1500 * 1000, NULL),
                     0);
    expect_none();
    expect(1, EVFILT_TIMER);
    assert_true(clock_real_now() - start >= 1500 * 1000);
    assert_int_equal(change(1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL), ENOENT);
}
#endif

/* --- Waiting ---------------------------------------------------------------------------------- */

static void a_wait_is_as_long_as_told(void **state)
{
    (void)state;
    static const long times[] = {1, 1000, 400000, 2500000};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        struct timespec t = {0, times[i]};
        int64_t start = clock_real_now();
        assert_int_equal(kevent(kq, NULL, 0, got, 8, &t), 0);
        assert_true(clock_real_now() - start >= times[i]);
    }
}

static void without_room_for_events_there_is_no_wait(void **state)
{
    (void)state;
    add(fds[0], EVFILT_WRITE, 0);
    assert_int_equal(kevent(kq, NULL, 0, got, 0, NULL), 0);
}

static void times_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    struct timespec negative = {-1, 0}, too_many = {0, 1000000000};
    assert_int_equal(kevent(kq, NULL, 0, got, 8, &negative), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(kevent(kq, NULL, 0, got, 8, &too_many), -1);
    assert_int_equal(errno, EINVAL);
}

static void *write_later(void *arg)
{
    usleep(2000);
    assert_int_equal(write(*(int *)arg, "a", 1), 1);
    return NULL;
}

static void what_was_added_with_the_wait_ends_it(void **state)
{
    (void)state;
    pthread_t thread;
    struct kevent event;
    EV_SET(&event, (uintptr_t)fds[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
    assert_int_equal(pthread_create(&thread, NULL, write_later, &fds[1]), 0);
    assert_int_equal(kevent(kq, &event, 1, got, 8, NULL), 1);
    assert_int_equal(got[0].ident, fds[0]);
    pthread_join(thread, NULL);
}

static void *add_and_write(void *arg)
{
    (void)arg;
    usleep(2000);
    add(fds[0], EVFILT_READ, 0);
    assert_int_equal(write(fds[1], "a", 1), 1);
    return NULL;
}

static void what_another_thread_adds_ends_a_wait(void **state)
{
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, add_and_write, NULL), 0);
    assert_int_equal(kevent(kq, NULL, 0, got, 8, NULL), 1);
    assert_int_equal(got[0].ident, fds[0]);
    pthread_join(thread, NULL);
}

static volatile sig_atomic_t alarms;

static void on_alarm(int signo)
{
    (void)signo;
    alarms++;
}

static void a_signal_ends_a_wait_and_the_changes_are_made(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 5000}, {0, 5000}}, never = {{0, 0}, {0, 0}};
    struct kevent event;
    int rc = 0;
    EV_SET(&event, (uintptr_t)fds[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
    sigaction(SIGALRM, &action, NULL);
    alarms = 0;
    setitimer(ITIMER_REAL, &often, NULL);
    rc = kevent(kq, &event, 1, got, 8, &soon);
    int error = errno;
    setitimer(ITIMER_REAL, &never, NULL);
    signal(SIGALRM, SIG_IGN);
    assert_int_equal(rc, -1);
    assert_int_equal(error, EINTR);
    assert_int_equal(write(fds[1], "a", 1), 1);
    expect(fds[0], EVFILT_READ);
}

/* --- Other files ------------------------------------------------------------------------------ */

static bool readable(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

static void a_kqueue_with_an_event_polls_readable(void **state)
{
    (void)state;
    char byte;
    add(fds[0], EVFILT_READ, 0);
    assert_false(readable(kq, 0));
    assert_int_equal(write(fds[1], "a", 1), 1);
    assert_true(readable(kq, 10000));
    assert_int_equal(read(fds[0], &byte, 1), 1);
    assert_false(readable(kq, 0));
    assert_int_equal(change(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 2, NULL), 0);
    assert_true(readable(kq, 10000));
    expect(1, EVFILT_TIMER);
    assert_false(readable(kq, 0));
#ifdef EVFILT_USER
    assert_int_equal(change(7, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL), 0);
    assert_int_equal(change(7, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL), 0);
    assert_true(readable(kq, 0));
    expect(7, EVFILT_USER);
    assert_false(readable(kq, 0));
#endif
}

static void a_kqueue_watches_another(void **state)
{
    (void)state;
    char byte;
    int inner = kqueue();
    struct kevent event;
    EV_SET(&event, (uintptr_t)fds[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
    assert_int_equal(kevent(inner, &event, 1, NULL, 0, &none), 0);
    add(inner, EVFILT_READ, 0);
    expect_none();
    assert_int_equal(write(fds[1], "a", 1), 1);
    expect(inner, EVFILT_READ);
    assert_int_equal(read(fds[0], &byte, 1), 1);
    expect_none();
    close(inner);
}

static void a_listener_is_readable_with_a_connection(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    add(listener, EVFILT_READ, EV_CLEAR);
    expect_none();
    assert_int_equal(connect(client, (struct sockaddr *)&address, length), 0);
    expect(listener, EVFILT_READ);
    assert_true(got[0].data >= 1);
    close(client);
    close(listener);
}

static void a_regular_file_is_readable_until_its_end(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    int fd = fileno(file);
    assert_int_equal(write(fd, "abc", 3), 3);
    add(fd, EVFILT_READ, 0);
    expect_none();
    assert_int_equal(lseek(fd, 1, SEEK_SET), 1);
    expect(fd, EVFILT_READ);
    assert_int_equal(got[0].data, 2);
    assert_int_equal(change(fd, EVFILT_READ, EV_DELETE, 0, 0, NULL), 0);
    add(fd, EVFILT_WRITE, 0);
    expect(fd, EVFILT_WRITE);
    assert_int_equal(change(fd, EVFILT_WRITE, EV_DELETE, 0, 0, NULL), 0);
    fclose(file);
}

static void a_child_does_not_have_its_parents_kqueue(void **state)
{
    (void)state;
    add(fds[0], EVFILT_READ, 0);
    assert_int_equal(write(fds[1], "a", 1), 1);
    pid_t child = fork();
    if (child == 0) {
        int rc = kevent(kq, NULL, 0, got, 8, &none), error = errno;
        close(fds[0]);
        close(kq);
        _exit(rc == -1 && error == EBADF ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    expect(fds[0], EVFILT_READ); /* and has not touched it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef EVFILT_USER
        ON_KQ(a_user_event_is_told_when_it_is_triggered),
        ON_KQ(a_cleared_user_event_is_told_once_for_many_triggers),
        ON_KQ(user_flags_are_combined_as_told),
        ON_KQ(a_trigger_of_another_thread_ends_a_wait),
        ON_KQ(a_signal_handler_may_trigger),
#endif
        ON_KQ(a_timer_comes_again_and_counts_what_was_missed),
#ifdef NOTE_NSECONDS
        ON_KQ(a_oneshot_timer_in_nanoseconds_comes_once),
#endif
        ON_KQ(a_wait_is_as_long_as_told),
        ON_KQ(without_room_for_events_there_is_no_wait),
        ON_KQ(times_that_make_no_sense_are_refused),
        ON_KQ(what_was_added_with_the_wait_ends_it),
        ON_KQ(what_another_thread_adds_ends_a_wait),
        ON_KQ(a_signal_ends_a_wait_and_the_changes_are_made),
        ON_KQ(a_kqueue_with_an_event_polls_readable),
        ON_KQ(a_kqueue_watches_another),
        ON_KQ(a_listener_is_readable_with_a_connection),
        ON_KQ(a_regular_file_is_readable_until_its_end),
        ON_KQ(a_child_does_not_have_its_parents_kqueue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
