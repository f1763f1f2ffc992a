/* co_serve: who is served, how many at a time, and how it ends. */
#include "support.h"

#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>

enum { GUARD_MS = 100000, STARTED = -1000 };

/* A server on an abstract UNIX address, and what its handlers saw. */
static struct site {
    char path[64];
    int listener, result, running, most, served;
    co_serve_options_t options;
    co_serve_fn *handler;
} site;

static int count_fds(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        dir = opendir("/dev/fd"); /* where there is no /proc */
    CHECK(dir != NULL);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static int now_ms(void)
{
    return (int)(loop_time(loop_current()) / MS);
}

static int run_server(void *arg)
{
    (void)arg;
    site.result = STARTED;
    site.result = co_serve(site.listener, site.handler, &site, &site.options);
    return site.result;
}

static co_task_t *open_site(co_serve_fn *handler, co_serve_options_t options)
{
    static int number;
    site = (struct site){.options = options, .handler = handler};
    snprintf(site.path, sizeof site.path, "@coloop-serve-%d-%d", (int)getpid(), number++);
    site.listener = co_unix_listen(site.path);
    CHECK(site.listener >= 0);
    return co_spawn(run_server, NULL);
}

static int close_site(co_task_t *server)
{
    co_task_cancel(server);
    int rc = co_await_task(server);
    co_close(site.listener);
    return rc;
}

static int open_client(void)
{
    int fd = co_unix_connect(site.path);
    CHECK(fd >= 0);
    return fd;
}

/* --- Handlers --------------------------------------------------------------------------------- */

static int echo(int fd, void *arg)
{
    char buffer[64];
    ssize_t n;
    (void)arg;
    site.served++;
    site.most = ++site.running > site.most ? site.running : site.most;
    while ((n = co_read(fd, buffer, sizeof buffer)) > 0 &&
           (n = co_write(fd, buffer, (size_t)n)) > 0)
        ;
    site.running--;
    return (int)n;
}

/* Works as many milliseconds as its client says in a byte. */
static int work(int fd, void *arg)
{
    unsigned char ms = 0;
    (void)arg;
    if (co_read(fd, &ms, 1) != 1)
        return -EPROTO;
    int rc = co_sleep(ms);
    trace("%d:%d@%d", ms, rc, now_ms());
    return rc;
}

static int request(unsigned char ms)
{
    int fd = open_client();
    CHECK_INT(co_write(fd, &ms, 1), 1);
    return fd;
}

/* --- Clients ---------------------------------------------------------------------------------- */

static int echo_client(void *arg)
{
    int fd = open_client();
    char sent[16], got[16];
    for (int i = 0; i < 3; i++) {
        int size = snprintf(sent, sizeof sent, "%d-%d", (int)(intptr_t)arg, i), n = 0;
        CHECK_INT(co_write(fd, sent, (size_t)size), size);
        co_timeout(GUARD_MS) n = (int)co_read(fd, got, sizeof got);
        CHECK_INT(n, size);
        CHECK_INT(memcmp(sent, got, (size_t)size), 0);
    }
    return co_close(fd);
}

enum { CLIENTS = 200 };

static void run_clients(int n)
{
    co_task_t *tasks[CLIENTS];
    for (int i = 0; i < n; i++)
        tasks[i] = co_spawn(echo_client, (void *)(intptr_t)i);
    CHECK_INT(co_gather_tasks(tasks, (size_t)n), 0);
}

static int serve_many(void *arg)
{
    int before = count_fds();
    co_task_t *server = open_site(echo, *(co_serve_options_t *)arg);
    run_clients(CLIENTS);
    co_yield_now();
    CHECK_INT(close_site(server), -ECANCELED);
    CHECK_INT(site.served, CLIENTS);
    CHECK_INT(site.running, 0);
    CHECK_INT(count_fds(), before);
    return site.most;
}

static void every_client_is_served_and_no_fd_is_left(void **state)
{
    (void)state;
    assert_in_range(run_task(serve_many, (&(co_serve_options_t){0})), 2, CLIENTS);
}

static void no_more_than_the_limit_run_at_a_time(void **state)
{
    (void)state;
    assert_int_equal(run_task(serve_many, (&(co_serve_options_t){.limit = 3})), 3);
    assert_int_equal(run_task(serve_many, (&(co_serve_options_t){.limit = 1})), 1);
}

static int serve_tcp_once(int fd, void *arg)
{
    int value = 0;
    socklen_t length = sizeof value;
    (void)arg;
    CHECK_INT(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &length), 0);
    CHECK(value != 0);
    CHECK_INT(strcmp(co_task_name(co_self()), "serve_tcp_once"), 0);
    return co_write(fd, "x", 1) == 1 ? 0 : -EPROTO;
}

static int serve_tcp(void *arg)
{
    (void)arg;
    return co_serve(site.listener, serve_tcp_once, NULL, NULL);
}

static int tcp_clients(void *arg)
{
    int before = count_fds();
    char byte;
    site.listener = arg ? socket(AF_INET, SOCK_STREAM, 0) : co_tcp_listen("127.0.0.1", 0, 0);
    if (arg) /* foreign and in blocking mode; it listens on all addresses */
        CHECK_INT(listen(site.listener, 8), 0);
    co_task_t *server = co_spawn(serve_tcp, NULL);
    for (int i = 0; i < 10; i++) {
        int fd = co_tcp_connect("127.0.0.1", co_port(site.listener));
        CHECK(fd >= 0);
        CHECK_INT(co_read(fd, &byte, 1), 1);
        CHECK_INT(co_read(fd, &byte, 1), 0); /* the handler's end closes it */
        co_close(fd);
    }
    co_task_cancel(server);
    CHECK_INT(co_await_task(server), -ECANCELED);
    co_close(site.listener);
    co_sleep(1);
    return count_fds() - before;
}

static void tcp_connections_do_not_delay_and_are_closed(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(tcp_clients, NULL), 0);
}

static void a_foreign_blocking_listener_serves_too(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(tcp_clients, &site), 0);
}

/* --- Its end ---------------------------------------------------------------------------------- */

/* Three handlers that need 50, 100 and 200 ms are running when the server is cancelled at 10 ms. */
static int cancel_with_grace(void *arg)
{
    co_task_t *server = open_site(work, (co_serve_options_t){.grace_ms = *(int *)arg});
    int fds[3] = {request(50), request(100), request(200)};
    co_sleep_until(10 * MS);
    co_task_cancel(server);
    CHECK_INT(co_await_task(server), -ECANCELED);
    trace("end@%d", now_ms());
    CHECK(co_close(site.listener) == 0);
    for (int i = 0; i < 3; i++) {
        char byte;
        CHECK_INT(co_read(fds[i], &byte, 1), 0);
        co_close(fds[i]);
    }
    return 0;
}

/* The virtual clock of a new loop stands at 0. */
static void handlers_get_their_grace_and_are_cancelled_after_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_with_grace, (&(int){60})), 0);
    assert_string_equal(traced(), "50:0@50 100:-125@70 200:-125@70 end@70");
}

static void without_grace_handlers_are_cancelled_at_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_with_grace, (&(int){0})), 0);
    assert_string_equal(traced(), "50:-125@10 100:-125@10 200:-125@10 end@10");
}

static void a_negative_grace_lasts_until_they_end(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_with_grace, (&(int){-1})), 0);
    assert_string_equal(traced(), "50:0@50 100:0@100 200:0@200 end@200");
}

static void a_grace_ends_with_the_last_handler(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_with_grace, (&(int){5000})), 0);
    assert_string_equal(traced(), "50:0@50 100:0@100 200:0@200 end@200");
}

static int serve_for_a_while(void *arg)
{
    int rc = 0, fd;
    (void)arg;
    co_task_t *server = open_site(work, (co_serve_options_t){.grace_ms = 30});
    co_task_cancel(server); /* the task of open_site is not the one of this test */
    CHECK_INT(co_await_task(server), -ECANCELED);
    fd = request(200);
    co_timeout(500)
    {
        co_timeout(100) rc = co_serve(site.listener, work, NULL, &site.options);
        CHECK_INT(rc, -ETIMEDOUT);
        CHECK_INT(co_yield_now(), 0); /* the outer one has time left */
    }
    trace("end@%d", now_ms());
    co_close(fd);
    co_close(site.listener);
    return 0;
}

static void a_server_runs_out_of_time_like_any_call(void **state)
{
    (void)state;
    assert_int_equal(run_task(serve_for_a_while, NULL), 0);
    assert_string_equal(traced(), "200:-125@130 end@130");
}

static int nobody_is_accepted_in_the_grace(void *arg)
{
    (void)arg;
    co_task_t *server = open_site(work, (co_serve_options_t){.grace_ms = 100});
    int fd = request(50);
    co_sleep(10);
    co_task_cancel(server);
    co_yield_now();
    int late = request(1);
    co_task_cancel(server); /* once more changes nothing */
    CHECK_INT(co_await_task(server), -ECANCELED);
    co_sleep(100);
    CHECK_INT(co_close(site.listener), 0); /* it was open all the time */
    co_close(fd);
    co_close(late);
    return 0;
}

static void a_cancelled_server_accepts_nobody_any_more(void **state)
{
    (void)state;
    assert_int_equal(run_task(nobody_is_accepted_in_the_grace, NULL), 0);
    assert_string_equal(traced(), "50:0@50");
}

static int close_listener(void *arg)
{
    (void)arg;
    co_task_t *server = open_site(work, (co_serve_options_t){.grace_ms = 100});
    int fd = request(50);
    co_sleep_until(10 * MS);
    CHECK_INT(co_close(site.listener), 0);
    trace("closed@%d", now_ms());
    CHECK_INT(co_await_task(server), -EBADF);
    trace("end@%d", now_ms());
    co_close(fd);
    return 0;
}

static void a_closed_listener_ends_the_server_and_grants_the_grace(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, close_listener, NULL);
    assert_int_equal(loop_run_until(loop, task), 0);
    assert_string_equal(traced(), "closed@10 50:0@50 end@50");
    close_loop(loop);
}

static int cancel_at_limit(void *arg)
{
    (void)arg;
    co_task_t *server = open_site(work, (co_serve_options_t){.limit = 1, .grace_ms = -1});
    int fds[2] = {request(50), request(60)};
    co_sleep(10);
    co_task_cancel(server);
    CHECK_INT(co_await_task(server), -ECANCELED);
    trace("end@%d", now_ms());
    co_close(site.listener);
    co_close(fds[0]);
    co_close(fds[1]);
    return 0;
}

static void a_server_at_its_limit_can_be_cancelled(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_at_limit, NULL), 0);
    assert_string_equal(traced(), "50:0@50 end@50");
}

static int cancel_before_start(void *arg)
{
    (void)arg;
    co_task_t *server = open_site(echo, (co_serve_options_t){0});
    int fd = open_client();
    co_task_cancel(server);
    CHECK_INT(co_await_task(server), -ECANCELED);
    CHECK_INT(site.served, 0);
    co_close(fd);
    return co_close(site.listener);
}

static void a_server_cancelled_before_it_began_serves_nobody(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_before_start, NULL), 0);
}

static void wrong_uses_are_errors(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(co_serve(0, echo, NULL, NULL), -EPERM);
    close_loop(loop);
}

static int serve_number(void *arg)
{
    return co_serve(*(int *)arg, echo, NULL, NULL);
}

static void a_server_on_what_is_no_listener_returns_the_error(void **state)
{
    (void)state;
    int fds[2];
    make_socketpair(fds);
    loop_t *loop = open_loop();
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, serve_number, &fds[0])), -EINVAL);
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, serve_number, (&(int){-1}))), -EBADF);
    close_loop(loop);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_client_is_served_and_no_fd_is_left),
        cmocka_unit_test(no_more_than_the_limit_run_at_a_time),
        cmocka_unit_test(tcp_connections_do_not_delay_and_are_closed),
        cmocka_unit_test(a_foreign_blocking_listener_serves_too),
        cmocka_unit_test(handlers_get_their_grace_and_are_cancelled_after_it),
        cmocka_unit_test(without_grace_handlers_are_cancelled_at_once),
        cmocka_unit_test(a_negative_grace_lasts_until_they_end),
        cmocka_unit_test(a_grace_ends_with_the_last_handler),
        cmocka_unit_test(a_server_runs_out_of_time_like_any_call),
        cmocka_unit_test(a_cancelled_server_accepts_nobody_any_more),
        cmocka_unit_test(a_closed_listener_ends_the_server_and_grants_the_grace),
        cmocka_unit_test(a_server_at_its_limit_can_be_cancelled),
        cmocka_unit_test(a_server_cancelled_before_it_began_serves_nobody),
        cmocka_unit_test(wrong_uses_are_errors),
        cmocka_unit_test(a_server_on_what_is_no_listener_returns_the_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
