/* Which system calls reads and writes cost; and a task's memory of the fd it used last. */
#include "support.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { BIG = 4 << 20, GUARD_MS = 20000 };

static struct calls {
    int all, in_vain, cut_short;
} reads, writes, sends;

static ssize_t counted(ssize_t n, size_t size, struct calls *calls)
{
    calls->all++;
    calls->in_vain += n < 0 && errno == EAGAIN;
    calls->cut_short += n >= 0 && (size_t)n < size;
    return n;
}

#ifdef __APPLE__ /* its linker has no --wrap: nothing is counted */
#define CHECK_CALLS(expression) (void)counted
#else
#define CHECK_CALLS(expression) CHECK(expression)

ssize_t __real_read(int fd, void *data, size_t size);
ssize_t __wrap_read(int fd, void *data, size_t size);
ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __real_send(int fd, const void *data, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags);

ssize_t __wrap_read(int fd, void *data, size_t size)
{
    return counted(__real_read(fd, data, size), size, &reads);
}

ssize_t __wrap_write(int fd, const void *data, size_t size)
{
    return counted(__real_write(fd, data, size), size, &writes);
}

ssize_t __wrap_send(int fd, const void *data, size_t size, int flags)
{
    return counted(__real_send(fd, data, size, flags), size, &sends);
}

#endif

static void forget_calls(void)
{
    reads = writes = sends = (struct calls){0};
}

/* Both ends of a TCP connection, the loop's own. */
static void connect_tcp(int fds[2])
{
    int listener = co_tcp_listen("127.0.0.1", 0, 0);
    fds[0] = co_tcp_connect("127.0.0.1", co_port(listener));
    fds[1] = co_accept(listener, NULL, NULL);
    CHECK(fds[0] >= 0 && fds[1] >= 0);
    co_close(listener);
}

static void close_both(int fds[2])
{
    co_close(fds[0]);
    co_close(fds[1]);
}

/* --- Counts ----------------------------------------------------------------------------------- */

static int answer_all(void *arg)
{
    int fd = *(int *)arg;
    char byte;
    while (co_read(fd, &byte, sizeof byte) == 1 && co_write(fd, &byte, 1) == 1)
        ;
    return 0;
}

static int ask_often(void *arg)
{
    int fds[2];
    char reply[64];
    (void)arg;
    connect_tcp(fds);
    co_task_t *server = co_spawn(answer_all, &fds[1]);
    co_yield_now();
    forget_calls();
    for (int i = 0; i < 100; i++) {
        CHECK_INT(co_write(fds[0], "x", 1), 1);
        CHECK_INT(co_read(fds[0], reply, sizeof reply), 1);
    }
    CHECK_CALLS(sends.all == 200);
    CHECK_CALLS(reads.all - reads.in_vain == 200);
    CHECK_CALLS(reads.in_vain <=
                101); /* the server's: it has room for one byte, so there may be more */
    co_close(fds[0]);
    CHECK_INT(co_await_task(server), 0);
    co_close(fds[1]);
    return 0;
}

static void a_short_read_from_tcp_is_followed_by_no_other(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(ask_often, NULL), 0);
}

static char *big;

static int write_big(void *arg)
{
    return co_write(*(int *)arg, big, BIG) == BIG ? 0 : -1;
}

static int read_big(void *arg)
{
    int fds[2], room = 16384;
    static char data[100000];
    size_t done = 0;
    ssize_t n = 1;
    (void)arg;
    connect_tcp(fds);
    CHECK_INT(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
    forget_calls();
    co_task_t *writer = co_spawn(write_big, &fds[1]);
    co_timeout(GUARD_MS) while (done < BIG && n > 0)
    {
        n = co_read(fds[0], data, sizeof data);
        CHECK(n > 0 && memcmp(data, big + done, (size_t)n) == 0);
        done += (size_t)n;
    }
    CHECK_INT(done, BIG);
    CHECK_INT(co_await_task(writer), 0);
    close_both(fds);
    return 0;
}

static void a_large_write_goes_on_whenever_there_is_room(void **state)
{
    (void)state;
    big = malloc(BIG);
    assert_non_null(big);
    for (size_t i = 0; i < BIG; i++)
        big[i] = (char)(i * 31 + i / 251);
    assert_int_equal(run_real_task(read_big, NULL), 0);
    free(big);
    CHECK_CALLS(sends.cut_short >= 10);
}

/* A write stops short at the first page that is not there, and nothing will say that there is room,
 * as there is. The fd has been waited for: what there is to say of it at first has been said. */
static int write_what_is_gone(void *arg)
{
    enum { SIZE = 256 * 1024 };
    int fds[2];
    ssize_t n = 0;
    FILE *file = tmpfile();
    (void)arg;
    CHECK(file != NULL && ftruncate(fileno(file), SIZE) == 0);
    char *data = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fileno(file), 0);
    CHECK(data != MAP_FAILED && ftruncate(fileno(file), SIZE / 2) == 0);
    connect_tcp(fds);
    co_timeout(1) CHECK_INT(co_read(fds[0], &n, sizeof n), -ETIMEDOUT);
    co_timeout(GUARD_MS)
    {
        n = co_write(fds[0], data, SIZE);
        CHECK(n > 0 && n <= SIZE / 2);
        CHECK_INT(co_write(fds[0], data + n, SIZE - (size_t)n), -EFAULT);
    }
    close_both(fds);
    munmap(data, SIZE);
    fclose(file);
    return 0;
}

static void a_write_from_memory_that_is_gone_does_not_hang(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(write_what_is_gone, NULL), 0);
}

static int fill_pipe(void *arg)
{
    int fds[2];
    char data[8];
    (void)arg;
    make_pipe(fds);
    CHECK_INT(co_adopt(fds[0]), 0);
    CHECK_INT(co_adopt(fds[1]), 0);
    forget_calls();
    for (int i = 0; i < 10; i++)
        CHECK_INT(co_write(fds[1], "pipe", 4), 4);
    CHECK_CALLS(sends.all == 0);
    CHECK_CALLS(writes.all == 10);
    CHECK_INT(co_read(fds[0], data, sizeof data), 8);
    CHECK_CALLS(reads.all == 1);
    close_both(fds);
    return 0;
}

static void an_own_pipe_is_written_to_at_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(fill_pipe, NULL), 0);
}

/* --- The fd that was used last ---------------------------------------------------------------- */

static int use_in_turn(void *arg)
{
    int a[2], b[2];
    char byte;
    (void)arg;
    make_socketpair(a);
    make_pipe(b);
    for (int i = 0; i < 2; i++)
        CHECK_INT(co_adopt(a[i]), 0);
    for (int i = 0; i < 20; i++) { /* own sockets and a foreign pipe */
        CHECK_INT(co_write(a[0], "a", 1), 1);
        CHECK_INT(co_write(b[1], "b", 1), 1);
        CHECK_INT(co_read(b[0], &byte, 1), 1);
        CHECK_INT(byte, 'b');
        CHECK_INT(co_read(a[1], &byte, 1), 1);
        CHECK_INT(byte, 'a');
        co_timeout(1) CHECK_INT(co_read(i % 2 ? a[1] : b[0], &byte, 1), -ETIMEDOUT);
    }
    CHECK_INT(co_read(-1, &byte, 1), -EBADF);
    CHECK_INT(co_write(-1, "x", 1), -EBADF);
    CHECK_INT(co_await_fd(-1, CO_READ), -EBADF);
    CHECK_INT(co_read(a[1], NULL, 0), 0);
    close_both(a);
    close_both(b);
    CHECK_INT(co_read(a[1], &byte, 1), -EBADF);
    return 0;
}

static void a_task_may_use_many_fds_in_turn(void **state)
{
    (void)state;
    assert_int_equal(run_task(use_in_turn, NULL), 0);
}

static int use_none_first(void *arg)
{
    char byte = 0; /* or valgrind minds that it is written */
    int fd = *(int *)arg;
    CHECK_INT(co_read(fd, &byte, 1), -EBADF);
    CHECK_INT(co_write(fd, &byte, 1), -EBADF);
    CHECK_INT(co_await_fd(fd, CO_READ | CO_WRITE), -EBADF);
    return 0;
}

static void no_fd_is_ebadf_for_a_task_that_used_none(void **state)
{
    static int none[] = {-1, -2, INT32_MIN, INT32_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_int_equal(run_task(use_none_first, &none[i]), 0);
}

/* The number is an own socket, then another file that is foreign, then own once more. */
static int use_anew(void *arg)
{
    int fds[2], others[2];
    char byte;
    (void)arg;
    for (int i = 0; i < 6; i++) {
        bool own = i % 2 == 0;
        make_socketpair(fds);
        if (own)
            CHECK_INT(co_adopt(fds[0]), 0);
        CHECK_INT(write(fds[1], "x", 1), 1);
        CHECK_INT(co_read(fds[0], &byte, 1), 1);
        forget_calls();
        co_timeout(1) CHECK_INT(co_read(fds[0], &byte, 1), -ETIMEDOUT);
        CHECK_CALLS(reads.all == own); /* a foreign one is asked by recv(2) */
        close_both(fds);
        make_pipe(others);
        CHECK_INT(others[0], fds[0]);
        CHECK_INT(write(others[1], "y", 1), 1);
        CHECK_INT(co_read(others[0], &byte, 1), 1);
        CHECK_INT(byte, 'y');
        close_both(others);
    }
    return 0;
}

static void a_number_that_becomes_another_file_is_looked_at_anew(void **state)
{
    (void)state;
    assert_int_equal(run_task(use_anew, NULL), 0);
}

static int adopt_meanwhile(void *arg)
{
    co_sleep(1);
    CHECK_INT(co_adopt(*(int *)arg), 0);
    co_sleep(1);
    CHECK_INT(write(((int *)arg)[1], "x", 1), 1);
    return 0;
}

static int wait_as_foreign(void *arg)
{
    int fds[2];
    char byte;
    (void)arg;
    make_socketpair(fds);
    co_task_t *other = co_spawn(adopt_meanwhile, fds);
    CHECK_INT(co_read(fds[0], &byte, 1), 1);
    CHECK_INT(co_await_task(other), 0);
    forget_calls();
    co_timeout(1) CHECK_INT(co_read(fds[0], &byte, 1), -ETIMEDOUT);
    CHECK_CALLS(reads.all == 1); /* own by now */
    close_both(fds);
    return 0;
}

static void an_fd_that_is_adopted_while_it_is_waited_for_is_own_from_then_on(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_as_foreign, NULL), 0);
}

static void remove_reader_and_adopt(void *arg)
{
    int fd = *(int *)arg;
    CHECK_INT(loop_remove_reader(loop_current(), fd), 1);
    CHECK_INT(co_adopt(fd), 0);
}

static int await_with_reader(void *arg)
{
    int fds[2];
    (void)arg;
    make_socketpair(fds);
    CHECK_INT(loop_add_reader(loop_current(), fds[0], remove_reader_and_adopt, &fds[0]), 0);
    CHECK_INT(write(fds[1], "x", 1), 1);
    CHECK_INT(co_await_fd(fds[0], CO_READ), CO_READ);
    close_both(fds);
    return 0;
}

/* The reader runs first, and its removal leaves the fd registered for nobody. */
static void an_fd_may_be_adopted_between_wake_up_and_run(void **state)
{
    (void)state;
    assert_int_equal(run_task(await_with_reader, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_read_from_tcp_is_followed_by_no_other),
        cmocka_unit_test(a_large_write_goes_on_whenever_there_is_room),
        cmocka_unit_test(a_write_from_memory_that_is_gone_does_not_hang),
        cmocka_unit_test(an_own_pipe_is_written_to_at_once),
        cmocka_unit_test(a_task_may_use_many_fds_in_turn),
        cmocka_unit_test(no_fd_is_ebadf_for_a_task_that_used_none),
        cmocka_unit_test(a_number_that_becomes_another_file_is_looked_at_anew),
        cmocka_unit_test(an_fd_that_is_adopted_while_it_is_waited_for_is_own_from_then_on),
        cmocka_unit_test(an_fd_may_be_adopted_between_wake_up_and_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
