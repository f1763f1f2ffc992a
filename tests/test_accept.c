/* co_accept, co_connect and the sockets by address: TCP. test_unix.c has those in the file system.
 */
#include "support.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { GUARD_MS = 20000, STARTED = -1000 };

static bool is_nonblocking_and_cloexec(int fd)
{
    return fcntl(fd, F_GETFL) & O_NONBLOCK && fcntl(fd, F_GETFD) & FD_CLOEXEC;
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return has;
}

/* Connects to a listener that the caller owns, and accepts; both ends in fds. */
static void meet(const char *host, int listener, int fds[2])
{
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    fds[1] = co_tcp_connect(host, co_port(listener));
    CHECK(fds[1] >= 0);
    fds[0] = co_accept(listener, (struct sockaddr *)&peer, &length);
    CHECK(fds[0] >= 0);
    CHECK(length == sizeof(struct sockaddr_in) || length == sizeof(struct sockaddr_in6));
    CHECK_INT(ntohs(((struct sockaddr_in *)&peer)->sin_port),
              co_port(fds[1])); /* at one place in both */
}

static void check_conversation(int fds[2])
{
    char byte = 0;
    int nodelay = 0;
    socklen_t length = sizeof nodelay;
    CHECK(is_nonblocking_and_cloexec(fds[0]) && is_nonblocking_and_cloexec(fds[1]));
    CHECK_INT(getsockopt(fds[1], IPPROTO_TCP, TCP_NODELAY, &nodelay, &length), 0);
    CHECK(nodelay != 0);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(co_write(fds[i], "x", 1), 1);
        CHECK_INT(co_read(fds[!i], &byte, 1), 1);
        CHECK_INT(byte, 'x');
    }
    CHECK_INT(co_close(fds[1]), 0);
    CHECK_INT(co_read(fds[0], &byte, 1), 0);
    CHECK_INT(co_close(fds[0]), 0);
}

/* --- Listening and connecting ----------------------------------------------------------------- */

struct hosts {
    const char *listen, *connect;
};

static int talk(void *arg)
{
    struct hosts *hosts = arg;
    int fds[2], listener = co_tcp_listen(hosts->listen, 0, 5);
    CHECK(listener >= 0);
    CHECK(is_nonblocking_and_cloexec(listener));
    CHECK(co_port(listener) > 0);
    for (int i = 0; i < 3; i++) {
        meet(hosts->connect, listener, fds);
        check_conversation(fds);
    }
    return co_close(listener);
}

static void tcp_ends_meet_over_ipv4(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(talk, (&(struct hosts){"127.0.0.1", "127.0.0.1"})), 0);
    assert_int_equal(run_real_task(talk, (&(struct hosts){"0.0.0.0", "127.0.0.2"})), 0);
    assert_int_equal(run_real_task(talk, (&(struct hosts){NULL, "127.0.0.1"})), 0);
}

static void tcp_ends_meet_over_ipv6(void **state)
{
    (void)state;
    if (!has_ipv6())
        skip();
    assert_int_equal(run_real_task(talk, (&(struct hosts){"::1", "::1"})), 0);
    assert_int_equal(run_real_task(talk, (&(struct hosts){NULL, "::1"})), 0);
}

static void listening_needs_no_coroutine(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    int listener = co_tcp_listen("127.0.0.1", 0, 0), port = co_port(listener);
    assert_true(listener >= 0 && port > 0);
    assert_int_equal(co_tcp_listen("127.0.0.1", port, 0), -EADDRINUSE);
    assert_int_equal(co_close(listener), 0);
    listener = co_tcp_listen("127.0.0.1", port, 0); /* at once again */
    assert_true(listener >= 0);
    assert_int_equal(co_close(listener), 0);
    close_loop(loop);
}

static int wrong_addresses(void *arg)
{
    static const char *const hosts[] = {"localhost", "",           "1.2.3", "1.2.3.4.5",
                                        "::1%lo",    "127.0.0.1 ", "[::1]", ":::"};
    (void)arg;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        CHECK_INT(co_tcp_listen(hosts[i], 0, 0), -EINVAL);
        CHECK_INT(co_tcp_connect(hosts[i], 80), -EINVAL);
    }
    CHECK_INT(co_tcp_connect(NULL, 80), -EINVAL);
    for (int i = 0; i < 4; i++) {
        static const int ports[] = {-1, 65536, INT32_MAX, INT32_MIN};
        CHECK_INT(co_tcp_listen("127.0.0.1", ports[i], 0), -EINVAL);
        CHECK_INT(co_tcp_listen(NULL, ports[i], 0), -EINVAL);
        CHECK_INT(co_tcp_connect("127.0.0.1", ports[i]), -EINVAL);
    }
    CHECK_INT(co_tcp_listen("192.0.2.1", 0, 0), -EADDRNOTAVAIL);
    int fds[2];
    CHECK_INT(pipe(fds), 0);
    CHECK_INT(co_port(fds[0]), -ENOTSOCK);
    CHECK_INT(co_accept(fds[0], NULL, NULL), -ENOTSOCK);
    CHECK_INT(co_port(-1), -EBADF);
    close(fds[0]);
    close(fds[1]);
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    CHECK_INT(co_port(fds[0]), -ENOTSUP);
    CHECK_INT(co_accept(fds[0], NULL, NULL), -EINVAL);
    close(fds[0]);
    close(fds[1]);
    return 0;
}

static void wrong_hosts_ports_and_fds_are_errors(void **state)
{
    (void)state;
    assert_int_equal(run_task(wrong_addresses, NULL), 0);
}

static int next_fd(void)
{
    int fd = dup(0);
    close(fd);
    return fd;
}

static int refused(void *arg)
{
    int listener = co_tcp_listen("127.0.0.1", 0, 0), port = co_port(listener);
    (void)arg;
    CHECK_INT(co_close(listener), 0);
    int free_before = next_fd();
    CHECK_INT(co_tcp_connect("127.0.0.1", port), -ECONNREFUSED);
    if (has_ipv6())
        CHECK_INT(co_tcp_connect("::1", port), -ECONNREFUSED);
    CHECK_INT(next_fd(), free_before); /* the failed sockets are closed */
    return 0;
}

static void a_refused_connection_leaves_no_fd(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(refused, NULL), 0);
}

/* The queue of a listener that nobody accepts from is full, so that a connection attempt hangs. */
static int connect_in_vain(void *arg)
{
    int fds[8], n = 0, listener = co_tcp_listen("127.0.0.1", 0, 1), rc = 0, cancel = *(bool *)arg;
    for (; n < 8 && rc >= 0; n++) {
        co_timeout(100) rc = co_tcp_connect("127.0.0.1", co_port(listener));
        fds[n] = rc;
    }
    CHECK_INT(fds[--n], -ETIMEDOUT);
    if (cancel)
        co_task_cancel(co_self());
    int free_before = next_fd();
    co_timeout(0) rc = co_tcp_connect("127.0.0.1", co_port(listener));
    CHECK_INT(rc, cancel ? -ECANCELED : -ETIMEDOUT);
    CHECK_INT(next_fd(), free_before);
    while (n > 0)
        co_close(fds[--n]);
    return co_close(listener);
}

static void an_interrupted_connection_leaves_no_fd(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(connect_in_vain, (&(bool){false})), 0);
    assert_int_equal(run_real_task(connect_in_vain, (&(bool){true})), 0);
}

/* --- Foreign sockets -------------------------------------------------------------------------- */

/* In every mode; a blocking one must neither block the loop nor be left non-blocking. */
static int foreign_ends(void *arg)
{
    bool blocking = *(bool *)arg;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int flags = blocking ? 0 : SOCK_NONBLOCK, rc = 0;
    int listener = socket(AF_INET, SOCK_STREAM | flags, 0), fds[2] = {-1, -1};
    CHECK_INT(bind(listener, (struct sockaddr *)&address, length), 0);
    CHECK_INT(listen(listener, 5), 0);
    CHECK_INT(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    co_timeout(10) rc = co_accept(listener, NULL, NULL);
    CHECK_INT(rc, -ETIMEDOUT);
    fds[1] = socket(AF_INET, SOCK_STREAM | flags, 0);
    CHECK_INT(co_connect(fds[1], (struct sockaddr *)&address, length), 0);
    co_timeout(GUARD_MS) fds[0] = co_accept(listener, NULL, NULL);
    CHECK(fds[0] >= 0);
    CHECK(is_nonblocking_and_cloexec(fds[0]));
    CHECK_INT(!(fcntl(listener, F_GETFL) & O_NONBLOCK), blocking);
    CHECK_INT(!(fcntl(fds[1], F_GETFL) & O_NONBLOCK), blocking);
    CHECK_INT(co_write(fds[1], "x", 1), 1);
    CHECK_INT(co_read(fds[0], &(char){0}, 1), 1);
    co_close(fds[0]);
    close(fds[1]);
    close(listener);
    fds[1] = socket(AF_INET, SOCK_STREAM | flags, 0);
    CHECK_INT(co_connect(fds[1], (struct sockaddr *)&address, length), -ECONNREFUSED);
    close(fds[1]);
    return 0;
}

static void foreign_sockets_accept_and_connect_in_either_mode(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(foreign_ends, (&(bool){false})), 0);
    assert_int_equal(run_real_task(foreign_ends, (&(bool){true})), 0);
}

static int connect_datagram(void *arg)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(9)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    (void)arg;
    CHECK_INT(co_adopt(fd), 0);
    CHECK_INT(co_connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    CHECK_INT(co_connect(-1, (struct sockaddr *)&address, sizeof address), -EBADF);
    CHECK_INT(co_connect(0, (struct sockaddr *)&address, sizeof address), -ENOTSOCK);
    return co_close(fd);
}

static void connecting_what_needs_no_wait_is_at_once(void **state)
{
    (void)state;
    int saved = dup(0), null = open("/dev/null", O_RDONLY);
    dup2(null, 0); /* whatever it is under the test runner */
    assert_int_equal(run_task(connect_datagram, NULL), 0);
    dup2(saved, 0);
    close(saved);
    close(null);
}

/* A socket that was waited for before it was connected has seen a hang-up already. */
static int connect_after_wait(void *arg)
{
    int listener = co_tcp_listen("127.0.0.1", 0, 5), fd = socket(AF_INET, SOCK_STREAM, 0), rc = 0;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons((uint16_t)co_port(listener));
    if (*(bool *)arg)
        CHECK_INT(co_adopt(fd), 0);
    CHECK(co_await_fd(fd, CO_WRITE) > 0); /* hang-up counts as both */
    CHECK_INT(co_connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    int accepted = co_accept(listener, NULL, NULL);
    co_timeout(20) rc = (int)co_read(fd, &(char){0}, 1);
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK_INT(co_write(accepted, "x", 1), 1);
    co_timeout(GUARD_MS) rc = (int)co_read(fd, &(char){0}, 1);
    CHECK_INT(rc, 1);
    co_close(fd);
    co_close(accepted);
    return co_close(listener);
}

static void a_socket_waited_for_before_it_was_connected_connects(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(connect_after_wait, (&(bool){true})), 0);
    assert_int_equal(run_real_task(connect_after_wait, (&(bool){false})), 0);
}

/* --- Several acceptors ------------------------------------------------------------------------ */

enum { ACCEPTORS = 4 };

struct acceptor {
    int listener, got, code;
};

static int accept_all(void *arg)
{
    struct acceptor *acceptor = arg;
    int fd;
    while ((fd = co_accept(acceptor->listener, NULL, NULL)) >= 0) {
        acceptor->got++;
        co_close(fd);
    }
    return acceptor->code = fd;
}

static int share_listener(void *arg)
{
    struct acceptor acceptors[ACCEPTORS];
    co_task_t *tasks[ACCEPTORS];
    int total = 0, listener = co_tcp_listen("127.0.0.1", 0, 0), results[ACCEPTORS];
    char byte;
    if (!*(bool *)arg) { /* the same file under a number the loop does not own */
        int own = listener;
        listener = dup(own);
        co_close(own);
    }
    for (int i = 0; i < ACCEPTORS; i++) {
        acceptors[i] = (struct acceptor){.listener = listener};
        tasks[i] = co_spawn(accept_all, &acceptors[i]);
    }
    for (int round = 0; round < 10; round++) {
        int fds[3];
        for (int i = 0; i < 3; i++)
            fds[i] = co_tcp_connect("127.0.0.1", co_port(listener));
        for (int i = 0; i < 3; i++) {
            int rc = -1;
            co_timeout(GUARD_MS) rc = (int)co_read(fds[i], &byte, 1);
            CHECK_INT(rc, 0);
            co_close(fds[i]);
        }
    }
    CHECK_INT(co_close(listener), 0);
    CHECK_INT(co_gather_all(tasks, ACCEPTORS, results), ACCEPTORS);
    for (int i = 0; i < ACCEPTORS; i++) {
        CHECK_INT(acceptors[i].code, -EBADF);
        total += acceptors[i].got;
    }
    CHECK_INT(total, 30);
    return 0;
}

static void several_acceptors_share_a_listener(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(share_listener, (&(bool){true})), 0);
    assert_int_equal(run_real_task(share_listener, (&(bool){false})), 0);
}

/* --- Out of fds and memory -------------------------------------------------------------------- */

static int accept_without_fds(void *arg)
{
    int listener = co_tcp_listen("127.0.0.1", 0, 0),
        client = co_tcp_connect("127.0.0.1", co_port(listener));
    struct rlimit limit;
    (void)arg;
    CHECK(client >= 0);
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = (rlim_t)next_fd();
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), 0);
    CHECK_INT(co_accept(listener, NULL, NULL), -EMFILE);
    CHECK_INT(co_accept(listener, NULL, NULL), -EMFILE);
    CHECK_INT(co_tcp_listen("127.0.0.1", 0, 0), -EMFILE);
    CHECK_INT(co_tcp_connect("127.0.0.1", co_port(listener)), -EMFILE);
    CHECK_INT(co_unix_listen("@coloop-none"), -EMFILE);
    CHECK_INT(co_unix_connect("@coloop-none"), -EMFILE);
    limit.rlim_cur++;
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int accepted = co_accept(listener, NULL, NULL); /* it was still in the queue */
    CHECK(accepted >= 0);
    co_close(accepted);
    co_close(client);
    return co_close(listener);
}

static void out_of_fds_is_emfile_and_the_connection_stays(void **state)
{
    (void)state;
    int status;
    if (under_valgrind())
        skip(); /* it takes the connection, then finds the fd too high, and closes it */
    pid_t child = fork();
    if (child == 0)
        _exit(co_run(accept_without_fds, NULL) == 0 ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static int meet_or_fail(void *arg)
{
    int rc, fds[2] = {-1, -1}, listener = co_tcp_listen("127.0.0.1", 0, 0);
    (void)arg;
    if (listener < 0)
        return listener;
    rc = fds[1] = co_tcp_connect("127.0.0.1", co_port(listener));
    if (rc >= 0)
        rc = fds[0] = co_accept(listener, NULL, NULL);
    co_close(fds[0]);
    co_close(fds[1]);
    co_close(listener);
    return rc < 0 ? rc : 0;
}

static void without_memory_calls_fail_and_leave_no_fd(void **state)
{
    (void)state;
    int rc = -ENOMEM;
    for (size_t n = 1; rc == -ENOMEM && n < 100; n++) {
        loop_t *loop = open_real_loop();
        int free_before = next_fd();
        fail_allocation(n, true);
        co_task_t *task = loop_spawn(loop, meet_or_fail, NULL);
        rc = task ? loop_run_until(loop, task) : -errno;
        fail_allocation(0, false);
        assert_true(rc == 0 || rc == -ENOMEM);
        assert_int_equal(next_fd(), free_before);
        close_loop(loop);
    }
    assert_int_equal(rc, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tcp_ends_meet_over_ipv4),
        cmocka_unit_test(tcp_ends_meet_over_ipv6),
        cmocka_unit_test(listening_needs_no_coroutine),
        cmocka_unit_test(wrong_hosts_ports_and_fds_are_errors),
        cmocka_unit_test(a_refused_connection_leaves_no_fd),
        cmocka_unit_test(an_interrupted_connection_leaves_no_fd),
        cmocka_unit_test(foreign_sockets_accept_and_connect_in_either_mode),
        cmocka_unit_test(connecting_what_needs_no_wait_is_at_once),
        cmocka_unit_test(a_socket_waited_for_before_it_was_connected_connects),
        cmocka_unit_test(several_acceptors_share_a_listener),
        cmocka_unit_test(out_of_fds_is_emfile_and_the_connection_stays),
        cmocka_unit_test(without_memory_calls_fail_and_leave_no_fd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
