/* UNIX sockets by path: in the file system and abstract; left-over files; queues that are full. */
#include "support.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { GUARD_MS = 20000 };

static char directory[] = "/tmp/coloop-unix-XXXXXX";

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static int make_directory(void **state)
{
    (void)state;
    strcpy(directory + sizeof directory - 7, "XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    static const char *const names[] = {"socket", "link", "file", "other"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(path_of(names[i]));
    return rmdir(directory);
}

static const char *abstract_path(void)
{
    static char path[64];
    static int number;
    snprintf(path, sizeof path, "@coloop-unix-%d-%d", (int)getpid(), number++);
    return path;
}

static bool is_ours(int fd)
{
    return fd >= 0 && fcntl(fd, F_GETFL) & O_NONBLOCK && fcntl(fd, F_GETFD) & FD_CLOEXEC;
}

static int talk(void *arg)
{
    const char *path = arg;
    struct sockaddr_un peer;
    socklen_t length = sizeof peer;
    char byte;
    int listener = co_unix_listen(path);
    CHECK(is_ours(listener));
    for (int i = 0; i < 3; i++) {
        int client = co_unix_connect(path),
            server = co_accept(listener, (struct sockaddr *)&peer, &length);
        CHECK(is_ours(client) && is_ours(server));
        CHECK_INT(peer.sun_family, AF_UNIX);
        CHECK_INT(co_write(client, "x", 1), 1);
        CHECK_INT(co_read(server, &byte, 1), 1);
        CHECK_INT(co_close(server), 0);
        CHECK_INT(co_read(client, &byte, 1), 0);
        CHECK_INT(co_close(client), 0);
    }
    return co_close(listener);
}

static void ends_meet_at_a_path(void **state)
{
    (void)state;
    assert_int_equal(run_task(talk, (void *)path_of("socket")), 0);
    assert_int_equal(access(path_of("socket"), F_OK), 0); /* the file stays, as ever */
}

static void ends_meet_at_an_abstract_path(void **state)
{
    (void)state;
    const char *path = abstract_path();
    assert_int_equal(run_task(talk, (void *)path), 0);
    assert_int_not_equal(access(path, F_OK), 0);
}

/* --- What is at the path already -------------------------------------------------------------- */

static void a_left_over_socket_file_is_replaced(void **state)
{
    (void)state;
    assert_int_equal(run_task(talk, (void *)path_of("socket")), 0);
    assert_int_equal(run_task(talk, (void *)path_of("socket")), 0);
}

static int listen_twice(void *arg)
{
    char byte;
    const char *path = arg;
    int listener = co_unix_listen(path);
    CHECK(listener >= 0);
    CHECK_INT(co_unix_listen(path), -EADDRINUSE);
    int client = co_unix_connect(path);
    CHECK(client >= 0);
    CHECK_INT(co_write(client, "x", 1), 1);
    for (int n = 0, rc = 0; rc == 0;
         n++) { /* what knocked in between is in the queue as well, and gone */
        int fd = co_accept(listener, NULL, NULL);
        CHECK(fd >= 0 && n < 2);
        co_timeout(GUARD_MS) rc = (int)co_read(fd, &byte, 1);
        CHECK(rc >= 0);
        co_close(fd);
    }
    co_close(client);
    return co_close(listener);
}

static void a_live_listener_is_not_replaced(void **state)
{
    (void)state;
    assert_int_equal(run_task(listen_twice, (void *)path_of("socket")), 0);
    assert_int_equal(run_task(listen_twice, (void *)abstract_path()), 0);
}

/* So many wait that a knock at the door cannot be heard. */
static int listen_at_a_full_one(void *arg)
{
    int listener = co_unix_listen(path_of("socket")), fds[8], n = 0, rc = 0;
    (void)arg;
    CHECK_INT(listen(listener, 1), 0);
    for (; n < 8 && rc >= 0; n++) {
        co_timeout(50) rc = co_unix_connect(path_of("socket"));
        fds[n] = rc;
    }
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK_INT(co_unix_listen(path_of("socket")), -EADDRINUSE);
    CHECK_INT(access(path_of("socket"), F_OK), 0);
    while (--n > 0)
        co_close(fds[n - 1]);
    return co_close(listener);
}

static void a_busy_listener_is_not_replaced(void **state)
{
    (void)state;
    assert_int_equal(run_task(listen_at_a_full_one, NULL), 0);
}

static int listen_on_files(void *arg)
{
    (void)arg;
    int file = open(path_of("file"), O_CREAT | O_RDWR, 0600);
    CHECK_INT(co_unix_listen(path_of("file")), -EADDRINUSE);
    CHECK_INT(co_unix_connect(path_of("file")), -ECONNREFUSED);
    CHECK_INT(access(path_of("file"), F_OK), 0);
    close(file);
    CHECK_INT(co_unix_listen(directory), -EADDRINUSE);
    CHECK_INT(symlink("nowhere", path_of("link")), 0);
    CHECK_INT(co_unix_listen(path_of("link")), -EADDRINUSE);
    struct stat st;
    CHECK_INT(lstat(path_of("link"), &st), 0);
    return 0;
}

static void other_kinds_of_files_are_not_replaced(void **state)
{
    (void)state;
    assert_int_equal(run_task(listen_on_files, NULL), 0);
}

/* A datagram socket is alive, although it refuses connections. */
static int listen_on_datagram(void *arg)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)arg;
    strcpy(address.sun_path, path_of("socket"));
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    CHECK_INT(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    CHECK_INT(co_unix_listen(path_of("socket")), -EADDRINUSE);
    CHECK_INT(access(path_of("socket"), F_OK), 0);
    close(fd);
    int listener = co_unix_listen(path_of("socket")); /* now it is left over */
    CHECK(listener >= 0);
    return co_close(listener);
}

static void a_live_datagram_socket_is_not_replaced(void **state)
{
    (void)state;
    assert_int_equal(run_task(listen_on_datagram, NULL), 0);
}

/* --- Errors ----------------------------------------------------------------------------------- */

static int wrong_paths(void *arg)
{
    char path[200];
    (void)arg;
    for (size_t size = sizeof((struct sockaddr_un){0}).sun_path; size < sizeof path; size += 40) {
        memset(path, 'p', size);
        path[size] = '\0';
        CHECK_INT(co_unix_listen(path), -ENAMETOOLONG);
        CHECK_INT(co_unix_connect(path), -ENAMETOOLONG);
    }
    CHECK_INT(co_unix_listen(""), -EINVAL);
    CHECK_INT(co_unix_connect(""), -EINVAL);
    CHECK_INT(co_unix_listen(NULL), -EINVAL);
    CHECK_INT(co_unix_connect(NULL), -EINVAL);
    CHECK_INT(co_unix_connect(path_of("other")), -ENOENT);
    CHECK_INT(co_unix_listen(path_of("other/socket")), -ENOENT);
    CHECK_INT(co_unix_connect(abstract_path()), -ECONNREFUSED);
    int listener = co_unix_listen(path_of("socket"));
    CHECK_INT(co_port(listener), -ENOTSUP);
    CHECK_INT(co_close(listener), 0);
    CHECK_INT(co_unix_connect(path_of("socket")), -ECONNREFUSED); /* left over */
    return 0;
}

static void wrong_paths_are_errors(void **state)
{
    (void)state;
    assert_int_equal(run_task(wrong_paths, NULL), 0);
}

static int longest_path(void *arg)
{
    char path[200];
    (void)arg;
    size_t size = sizeof((struct sockaddr_un){0}).sun_path - 1;
    int begin = snprintf(path, sizeof path, "@coloop-%d-", (int)getpid());
    memset(path + begin, 'p', size - (size_t)begin);
    path[size] = '\0';
    return talk(path);
}

static void a_path_may_fill_the_address(void **state)
{
    (void)state;
    assert_int_equal(run_task(longest_path, NULL), 0);
}

/* --- A full queue ----------------------------------------------------------------------------- */

enum { CALLERS = 6 };

static int call(void *arg)
{
    int fd = -1;
    co_timeout(GUARD_MS) fd = co_unix_connect(arg);
    return fd;
}

/* The kernel says EAGAIN to those that find no room, and never that there is some. */
static int callers_wait(void *arg)
{
    const char *path = arg;
    co_task_t *tasks[CALLERS];
    int listener = co_unix_listen(path), results[CALLERS];
    CHECK_INT(listen(listener, 1), 0);
    for (int i = 0; i < CALLERS; i++)
        tasks[i] = co_spawn(call, arg);
    co_sleep(50);
    CHECK(co_wait(tasks, CALLERS, CO_FIRST_COMPLETED) < CALLERS);
    for (int i = 0; i < CALLERS; i++) {
        int fd = -1;
        co_timeout(GUARD_MS) fd = co_accept(listener, NULL, NULL);
        CHECK(fd >= 0);
        co_close(fd);
    }
    CHECK_INT(co_gather_all(tasks, CALLERS, results), 0);
    for (int i = 0; i < CALLERS; i++)
        co_close(results[i]);
    return co_close(listener);
}

static void callers_wait_for_room_in_the_queue(void **state)
{
    (void)state;
    assert_int_equal(run_task(callers_wait, (void *)abstract_path()), 0);
}

static int count_free_fd(void)
{
    int fd = dup(0);
    close(fd);
    return fd;
}

static int cancel_caller(void *arg)
{
    int listener = co_unix_listen(arg), fds[8], n = 0, rc = 0;
    CHECK_INT(listen(listener, 1), 0);
    for (; n < 8 && rc >= 0; n++) {
        co_timeout(50) rc = co_unix_connect(arg);
        fds[n] = rc;
    }
    int before = count_free_fd();
    co_task_t *task = co_spawn(call, arg);
    co_sleep(20);
    co_task_cancel(task);
    CHECK_INT(co_await_task(task), -ECANCELED);
    CHECK_INT(count_free_fd(), before);
    while (--n > 0)
        co_close(fds[n - 1]);
    return co_close(listener);
}

static void a_caller_that_waits_for_room_can_be_cancelled(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_caller, (void *)abstract_path()), 0);
}

#define in_directory(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_directory(ends_meet_at_a_path),
        cmocka_unit_test(ends_meet_at_an_abstract_path),
        in_directory(a_left_over_socket_file_is_replaced),
        in_directory(a_live_listener_is_not_replaced),
        in_directory(a_busy_listener_is_not_replaced),
        in_directory(other_kinds_of_files_are_not_replaced),
        in_directory(a_live_datagram_socket_is_not_replaced),
        in_directory(wrong_paths_are_errors),
        cmocka_unit_test(a_path_may_fill_the_address),
        cmocka_unit_test(callers_wait_for_room_in_the_queue),
        cmocka_unit_test(a_caller_that_waits_for_room_can_be_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
