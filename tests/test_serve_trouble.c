/* co_serve when things go wrong: handlers that fail or throw, no fds, no memory, a loop that
 * closes. */
#include "support.h"

#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { GUARD_MS = 100000 };

static struct site {
    char path[64];
    int listener, served;
    co_serve_options_t options;
    co_serve_fn *handler;
} site;

static int run_server(void *arg)
{
    (void)arg;
    return co_serve(site.listener, site.handler, NULL, &site.options);
}

static int listen_somewhere(co_serve_fn *handler, co_serve_options_t options)
{
    static int number;
    site = (struct site){.options = options, .handler = handler};
    snprintf(site.path, sizeof site.path, "@coloop-trouble-%d-%d", (int)getpid(), number++);
    return site.listener = co_unix_listen(site.path);
}

static co_task_t *open_site(co_serve_fn *handler, co_serve_options_t options)
{
    CHECK(listen_somewhere(handler, options) >= 0);
    return co_spawn(run_server, NULL);
}

static int close_site(co_task_t *server)
{
    co_task_cancel(server);
    int rc = co_await_task(server);
    co_close(site.listener);
    return rc;
}

/* Sends a byte and returns the one that comes back: 0 at the end of file, or an error. */
static int ask(int question)
{
    char byte = (char)question;
    int fd = co_unix_connect(site.path), n;
    if (fd < 0)
        return fd;
    n = (int)co_write(fd, &byte, 1);
    co_timeout(GUARD_MS) n = n < 0 ? n : (int)co_read(fd, &byte, 1);
    co_close(fd);
    return n == 1 ? byte : n;
}

/* --- Handlers that fail ----------------------------------------------------------------------- */

static int fail_as_told(int fd, void *arg)
{
    char byte;
    (void)arg;
    if (co_read(fd, &byte, 1) != 1)
        return -EPROTO;
    site.served++;
    switch (byte) {
    case 'p':
        return -EPIPE;
    case 'r':
        return -ECONNRESET;
    case 'i':
        return -EIO;
    case 'm':
        return co_fail(-EIO, "no luck with %d", site.served);
    case 't':
        co_throw(-EIO, "thrown by %d", site.served);
    case 'P':
        co_throw(-EPIPE, "thrown EPIPE");
    case 'R':
        return co_fail(-ECONNRESET, "noted ECONNRESET");
    default:
        return (int)co_write(fd, &byte, 1);
    }
}

static int ask_all(void *arg)
{
    co_task_t *server = open_site(fail_as_told, (co_serve_options_t){.limit = 1});
    for (const char *question = arg; *question; question++)
        trace("%c%d", *question, ask(*question));
    CHECK_INT(close_site(server), -ECANCELED);
    return 0;
}

static void try_questions(char *questions)
{
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, ask_all, questions);
    assert_int_equal(loop_run_until(loop, task), 0);
    assert_int_equal(loop_run(loop), 0);
    close_loop(loop);
}

static void a_failed_handler_is_reported_and_its_fd_closed(void **state)
{
    (void)state;
    try_questions((char[]){"imx"});
    assert_string_equal(traced(), "i0 m0 x120");
    assert_int_equal(reports(), 2);
    assert_non_null(strstr(reported(), "failed|-5|"));
    assert_non_null(strstr(reported(), "no luck with 2|-5|"));
}

static void a_handler_that_throws_is_reported_and_its_fd_closed(void **state)
{
    (void)state;
    try_questions((char[]){"ttx"});
    assert_string_equal(traced(), "t0 t0 x120");
    assert_int_equal(reports(), 2);
    assert_non_null(strstr(reported(), "thrown by 2"));
}

static void a_peer_that_left_is_no_failure(void **state)
{
    (void)state;
    try_questions((char[]){"prRx"});
    assert_string_equal(traced(), "p0 r0 R0 x120");
    assert_string_equal(reported(), "");
}

static void a_peer_that_left_is_no_failure_when_it_is_thrown(void **state)
{
    (void)state;
    try_questions((char[]){"Px"});
    assert_string_equal(traced(), "P0 x120");
    assert_string_equal(reported(), "");
}

/* A handler that was cancelled at the end of the grace has not failed. */
static int sleep_for_ever(int fd, void *arg)
{
    (void)fd, (void)arg;
    site.served++;
    return co_sleep(-1);
}

static int cancel_sleepers(void *arg)
{
    (void)arg;
    co_task_t *server = open_site(sleep_for_ever, (co_serve_options_t){.grace_ms = 10});
    int fd = co_unix_connect(site.path);
    co_sleep(1);
    CHECK_INT(site.served, 1);
    CHECK_INT(close_site(server), -ECANCELED);
    return co_close(fd);
}

static void a_handler_cancelled_with_its_server_is_not_reported(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_sleepers, NULL), 0);
}

/* --- Big stacks ------------------------------------------------------------------------------- */

static __attribute__((noinline)) int use_stack(int fd)
{
    volatile char big[300 * 1024];
    for (size_t i = 0; i < sizeof big; i += 512)
        big[i] = 'b';
    char byte = big[0];
    return (int)co_write(fd, &byte, 1);
}

static int deep(int fd, void *arg)
{
    (void)arg;
    return use_stack(fd);
}

static int ask_deep(void *arg)
{
    (void)arg;
    co_task_t *server = open_site(deep, (co_serve_options_t){.stack_size = 512 * 1024});
    CHECK_INT(ask('x'), 'b');
    CHECK_INT(ask('x'), 'b');
    CHECK_INT(close_site(server), -ECANCELED);
    return 0;
}

static void handlers_have_the_stack_that_was_asked_for(void **state)
{
    (void)state;
    assert_int_equal(run_task(ask_deep, NULL), 0);
}

/* --- Out of fds ------------------------------------------------------------------------------- */

static int answer(int fd, void *arg)
{
    char byte;
    (void)arg;
    if (co_read(fd, &byte, 1) != 1)
        return -EPROTO;
    site.served++;
    return (int)co_write(fd, &byte, 1);
}

enum { WAITING = 5, SPARE_MAX = 64 };

static int fill_fds(int spare[SPARE_MAX])
{
    int n = 0;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    int next = dup(0);
    limit.rlim_cur = (rlim_t)next + 8; /* children only: it is not put back */
    if (next < 0 || setrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -1;
    for (int fd = next; fd >= 0 && n < SPARE_MAX; fd = dup(0))
        spare[n++] = fd;
    return errno == EMFILE ? n : -1;
}

/* Five clients are in the queue when there are no fds; then there is one, as there was before. */
static int run_short_of_fds(void *arg)
{
    int clients[WAITING], spare[SPARE_MAX];
    char byte;
    loop_stats_t before, after;
    for (int i = 0; i < WAITING; i++) {
        clients[i] = co_unix_connect(site.path);
        CHECK_INT(co_write(clients[i], "x", 1), 1);
    }
    int spares = fill_fds(spare);
    CHECK(spares > 0);
    co_task_t *server = co_spawn(run_server, NULL);
    loop_stats(loop_current(), &before);
    co_sleep(1000);
    loop_stats(loop_current(), &after);
    CHECK_INT(site.served, 0);
    CHECK(after.polls - before.polls < 200); /* it pauses */
    if (arg) {                               /* cancelled in the pause */
        CHECK_INT(close_site(server), -ECANCELED);
        return 0;
    }
    close(spare[0]);
    for (int i = 0; i < WAITING; i++) {
        CHECK_INT(co_read(clients[i], &byte, 1), 1);
        CHECK_INT(byte, 'x');
    }
    CHECK_INT(site.served, WAITING);
    CHECK_INT(close_site(server), -ECANCELED);
    return 0;
}

static int in_a_loop(co_fn *fn, void *arg)
{
    loop_options_t options = {.virtual_time = true, .seed = 1};
    loop_t *loop = loop_new(&options);
    if (!loop || listen_somewhere(answer, (co_serve_options_t){0}) < 0)
        return 2;
    int rc = loop_run_until(loop, loop_spawn(loop, fn, arg));
    return rc == 0 && loop_close(loop) == 0 ? 0 : 1;
}

static int status_of_child(co_fn *fn, void *arg)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0)
        _exit(in_a_loop(fn, arg));
    waitpid(child, &status, 0);
    return status;
}

static void out_of_fds_the_server_pauses_and_goes_on(void **state)
{
    (void)state;
    if (under_valgrind())
        skip(); /* it takes a connection, then finds the fd too high, and closes it */
    assert_int_equal(status_of_child(run_short_of_fds, NULL), 0);
}

static void out_of_fds_the_server_can_be_cancelled(void **state)
{
    (void)state;
    if (under_valgrind())
        skip(); /* it takes a connection, then finds the fd too high, and closes it */
    assert_int_equal(status_of_child(run_short_of_fds, &site), 0);
}

/* --- Out of memory ---------------------------------------------------------------------------- */

/* The n-th allocation of server and clients fails: a client may be turned away, the server stays.
 */
static int serve_through_failure(void *arg)
{
    size_t *n = arg;
    co_task_t *server = open_site(answer, (co_serve_options_t){.grace_ms = 50});
    co_yield_now();
    fail_allocation(*n, false);
    for (int i = 0; i < 3; i++) {
        int rc = ask('x');
        CHECK(rc == 'x' || rc == 0 || rc == -ENOMEM || rc == -ECONNRESET || rc == -EPIPE);
    }
    if (allocations() < *n)
        *n = 0; /* there was no n-th one */
    fail_allocation(0, false);
    co_sleep(1000);
    CHECK(!co_task_done(server));
    CHECK_INT(ask('y'), 'y');
    CHECK_INT(close_site(server), -ECANCELED);
    return 0;
}

static void a_failed_allocation_costs_at_most_one_client(void **state)
{
    (void)state;
    for (size_t i = 1, n = 1; n && i < 100; i++) {
        n = i;
        assert_int_equal(run_task(serve_through_failure, &n), 0);
    }
}

/* No allocation succeeds for a while. */
static int serve_through_famine(void *arg)
{
    int waiting = *(int *)arg, fds[64];
    co_task_t *server = open_site(answer, (co_serve_options_t){.grace_ms = 50});
    co_yield_now();
    for (int i = 0; i < waiting; i++) {
        fds[i] = co_unix_connect(site.path);
        CHECK_INT(co_write(fds[i], "x", 1), 1);
    }
    fail_allocation(1, true);
    for (int i = 0; i < 100; i++)
        co_yield_now();
    fail_allocation(0, false);
    CHECK(!co_task_done(server));
    CHECK_INT(ask('y'), 'y');
    for (int i = 0; i < waiting; i++)
        co_close(fds[i]);
    CHECK_INT(close_site(server), -ECANCELED);
    return 0;
}

static void a_server_survives_a_time_without_memory(void **state)
{
    (void)state;
    assert_int_equal(run_task(serve_through_famine, (&(int){1})), 0);
    assert_int_equal(run_task(serve_through_famine, (&(int){10})), 0);
}

/* --- A loop that closes ----------------------------------------------------------------------- */

/* Fills the stack that was given back last. */
static int scribble(void *arg)
{
    volatile char garbage[16 * 1024];
    (void)arg;
    for (size_t i = 0; i < sizeof garbage; i++)
        garbage[i] = 0x55;
    return garbage[0] == 0x55 ? 0 : -1;
}

static int deaf_handler(int fd, void *arg)
{
    static const co_spawn_options_t eager = {.eager = true};
    (void)fd, (void)arg;
    site.served++;
    co_shield() co_sleep(-1);
    co_task_release(co_spawn_with(&eager, scribble, NULL));
    return 0;
}

static int connect_and_leave(void *arg)
{
    int fd = co_unix_connect(site.path);
    *(int *)arg = fd;
    return fd < 0 ? fd : 0;
}

static void close_with(co_serve_fn *handler, int64_t grace_ms, int clients)
{
    loop_t *loop = open_loop();
    int fds[4];
    assert_true(listen_somewhere(handler, (co_serve_options_t){.grace_ms = grace_ms}) >= 0);
    co_task_release(loop_spawn(loop, run_server, NULL));
    for (int i = 0; i < clients; i++)
        assert_int_equal(loop_run_until(loop, loop_spawn(loop, connect_and_leave, &fds[i])), 0);
    for (int i = 0; i < 5; i++)
        loop_run_once(loop, 0);
    assert_int_equal(site.served, clients);
    assert_in_range(close_loop(loop), clients + 1,
                    2 * clients + 1); /* handlers may start tasks meanwhile */
    close(site.listener);
    for (int i = 0; i < clients; i++)
        close(fds[i]);
}

static void loop_close_ends_a_server_with_its_connections(void **state)
{
    (void)state;
    close_with(sleep_for_ever, 0, 3);
    close_with(sleep_for_ever, -1, 3);
    assert_string_equal(reported(), "");
}

static void loop_close_ends_a_server_whose_handlers_are_deaf(void **state)
{
    (void)state;
    close_with(deaf_handler, 0, 3);
    close_with(deaf_handler, -1, 3);
    close_with(deaf_handler, 1000, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_handler_is_reported_and_its_fd_closed),
        cmocka_unit_test(a_handler_that_throws_is_reported_and_its_fd_closed),
        cmocka_unit_test(a_peer_that_left_is_no_failure),
        cmocka_unit_test(a_peer_that_left_is_no_failure_when_it_is_thrown),
        cmocka_unit_test(a_handler_cancelled_with_its_server_is_not_reported),
        cmocka_unit_test(handlers_have_the_stack_that_was_asked_for),
        cmocka_unit_test(out_of_fds_the_server_pauses_and_goes_on),
        cmocka_unit_test(out_of_fds_the_server_can_be_cancelled),
        cmocka_unit_test(a_failed_allocation_costs_at_most_one_client),
        cmocka_unit_test(a_server_survives_a_time_without_memory),
        cmocka_unit_test(loop_close_ends_a_server_with_its_connections),
        cmocka_unit_test(loop_close_ends_a_server_whose_handlers_are_deaf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
