/* Datagrams, passed fds, addresses, resets: what is told apart from a plain stream. */
#include "support.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>

enum { GUARD_MS = 20000 };

static int guarded_read(int fd, void *data, size_t size)
{
    ssize_t n = 0;
    co_timeout(GUARD_MS) n = co_read(fd, data, size);
    return (int)n;
}

/* --- Datagrams -------------------------------------------------------------------------------- */

static void open_udp(int fds[2], struct sockaddr_in addresses[2])
{
    for (int i = 0; i < 2; i++) {
        socklen_t length = sizeof addresses[i];
        addresses[i] =
            (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* blocking */
        CHECK_INT(bind(fds[i], (struct sockaddr *)&addresses[i], length), 0);
        CHECK_INT(getsockname(fds[i], (struct sockaddr *)&addresses[i], &length), 0);
    }
}

/* Each receives less than its buffer holds, and there is more all the same. */
static int drain_datagrams(int fd, int count)
{
    char buffer[64], small[2];
    for (int i = 0; i < count; i++) {
        ssize_t n = 0;
        struct iovec iov = {buffer, sizeof buffer};
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
        co_timeout(GUARD_MS) switch (i % 5)
        {
        case 0:
            n = co_read(fd, buffer, sizeof buffer);
            break;
        case 1:
            n = co_recv(fd, buffer, sizeof buffer, 0);
            break;
        case 2:
            n = co_recvmsg(fd, &message, 0);
            break;
        case 3:
            n = co_readv(fd, &iov, 1);
            break;
        default:
            n = co_read(fd, small, sizeof small); /* the rest of it is lost, as always */
        }
        CHECK_INT(n, i % 5 == 4 ? 2 : 3);
    }
    return 0;
}

enum { QUEUED = 20 };

static int udp_queue(void *arg)
{
    int fds[2], rc = 0;
    char byte;
    struct sockaddr_in addresses[2];
    open_udp(fds, addresses);
    for (int i = 0; i < 2 && *(bool *)arg; i++)
        CHECK_INT(co_adopt(fds[i]), 0);
    co_timeout(0) rc = (int)co_read(fds[0], &byte, 1); /* registers it */
    CHECK_INT(rc, -ETIMEDOUT);
    for (int i = 0; i < QUEUED; i++)
        CHECK_INT(
            co_sendto(fds[1], "abc", 3, 0, (struct sockaddr *)&addresses[0], sizeof addresses[0]),
            3);
    drain_datagrams(fds[0], QUEUED);
    co_timeout(10) rc = (int)co_read(fds[0], &byte, 1);
    CHECK_INT(rc, -ETIMEDOUT);
    co_close(fds[0]);
    co_close(fds[1]);
    return 0;
}

static void queued_udp_datagrams_are_all_read(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(udp_queue, (&(bool){true})), 0);
    assert_int_equal(run_real_task(udp_queue, (&(bool){false})), 0);
}

static int unix_queue(void *arg)
{
    int *how = arg, fds[2], rc = 0;
    char byte;
    CHECK_INT(socketpair(AF_UNIX, how[1] ? SOCK_SEQPACKET : SOCK_DGRAM, 0, fds), 0);
    for (int i = 0; i < 2 && how[0]; i++)
        CHECK_INT(co_adopt(fds[i]), 0);
    co_timeout(0) rc = (int)co_read(fds[0], &byte, 1);
    CHECK_INT(rc, -ETIMEDOUT);
    for (int i = 0; i < 5; i++)
        CHECK_INT(co_send(fds[1], "abc", 3, 0), 3);
    drain_datagrams(fds[0], 5);
    co_timeout(10) rc = (int)co_read(fds[0], &byte, 1);
    CHECK_INT(rc, -ETIMEDOUT);
    co_close(fds[0]);
    co_close(fds[1]);
    return 0;
}

static void queued_unix_messages_are_all_read(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(run_task(unix_queue, ((int[]){i & 1, i & 2})), 0);
}

/* A full queue makes the sender wait; each message arrives whole and once. */
static int send_many(void *arg)
{
    int fd = *(int *)arg;
    char text[32];
    for (int i = 0; i < 1000; i++) {
        int size = snprintf(text, sizeof text, "%d", i);
        struct iovec iov[2] = {{text, (size_t)size - 1}, {text + size - 1, 1}};
        ssize_t n = i % 2 ? co_write(fd, text, (size_t)size) : co_writev(fd, iov, 2);
        CHECK_INT(n, size);
    }
    return 0;
}

static int full_queue(void *arg)
{
    int fds[2];
    char text[32];
    CHECK_INT(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
    for (int i = 0; i < 2 && *(bool *)arg; i++)
        CHECK_INT(co_adopt(fds[i]), 0);
    co_task_t *sender = co_spawn(send_many, &fds[1]);
    for (int i = 0; i < 1000; i++) {
        int n = guarded_read(fds[0], text, sizeof text - 1);
        CHECK(n > 0);
        text[n] = '\0';
        CHECK_INT(atoi(text), i);
    }
    CHECK_INT(co_await_task(sender), 0);
    co_close(fds[0]);
    co_close(fds[1]);
    return 0;
}

static void a_full_datagram_queue_makes_the_sender_wait(void **state)
{
    (void)state;
    assert_int_equal(run_task(full_queue, (&(bool){true})), 0);
    assert_int_equal(run_task(full_queue, (&(bool){false})), 0);
}

static int empty_and_long(void *arg)
{
    int fds[2];
    static char big[70000];
    struct sockaddr_in addresses[2], from;
    socklen_t length = sizeof from;
    open_udp(fds, addresses);
    if (*(bool *)arg)
        CHECK_INT(co_adopt(fds[0]), 0);
    CHECK_INT(connect(fds[1], (struct sockaddr *)&addresses[0], sizeof addresses[0]), 0);
    CHECK_INT(co_write(fds[1], big, sizeof big), -EMSGSIZE); /* whole or not at all */
    CHECK_INT(co_write(fds[1], "", 0), 0);
    CHECK_INT(co_write(fds[1], "x", 1), 1);
    ssize_t n = -1;
    co_timeout(GUARD_MS) n = co_recvfrom(fds[0], big, 8, 0, (struct sockaddr *)&from, &length);
    CHECK_INT(n, 0); /* an empty datagram, and not the end */
    CHECK_INT(length, sizeof from);
    CHECK_INT(from.sin_port, addresses[1].sin_port);
    CHECK_INT(guarded_read(fds[0], big, 8), 1);
    close(fds[1]);
    co_close(fds[0]);
    return 0;
}

static void datagrams_may_be_empty_and_not_too_long(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(empty_and_long, (&(bool){true})), 0);
    assert_int_equal(run_real_task(empty_and_long, (&(bool){false})), 0);
}

/* Nobody is at the port: the answer of the network is an error of the socket, told once. */
static int udp_refused(void *arg)
{
    int fds[2];
    char byte;
    struct sockaddr_in addresses[2];
    open_udp(fds, addresses);
    if (*(bool *)arg)
        CHECK_INT(co_adopt(fds[0]), 0);
    CHECK_INT(connect(fds[0], (struct sockaddr *)&addresses[1], sizeof addresses[1]), 0);
    close(fds[1]);
    CHECK_INT(co_write(fds[0], "x", 1), 1);
    CHECK_INT(guarded_read(fds[0], &byte, 1), -ECONNREFUSED);
    co_close(fds[0]);
    return 0;
}

static void a_refused_datagram_is_an_error_of_the_next_read(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(udp_refused, (&(bool){true})), 0);
    assert_int_equal(run_real_task(udp_refused, (&(bool){false})), 0);
}

/* --- Passed fds ------------------------------------------------------------------------------- */

static void pass_fd(int over, int fd, char *data, size_t size)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    struct iovec iov = {data, size};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control};
    message.msg_controllen = sizeof control.space;
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    CHECK_INT(co_sendmsg(over, &message, 0), size);
}

static ssize_t take_fd(int over, int *fd, char *data, size_t size)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {data, size};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control};
    message.msg_controllen = sizeof control.space;
    ssize_t n = -1;
    *fd = -1;
    co_timeout(GUARD_MS) n = co_recvmsg(over, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = n >= 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (header && header->cmsg_type == SCM_RIGHTS)
        memcpy(fd, CMSG_DATA(header), sizeof *fd);
    return n;
}

/* A stream read stops at each passed fd, although more bytes are there. */
static int pass_fds(void *arg)
{
    int fds[2], carried[2], taken[2];
    char data[64], byte;
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    CHECK_INT(pipe(carried), 0);
    if (*(bool *)arg) {
        CHECK_INT(co_adopt(fds[0]), 0);
        CHECK_INT(co_adopt(fds[1]), 0);
    }
    pass_fd(fds[1], carried[0], (char[]){"ab"}, 2);
    pass_fd(fds[1], carried[1], (char[]){"cd"}, 2);
    CHECK_INT(co_write(fds[1], "ef", 2), 2);
    CHECK_INT(take_fd(fds[0], &taken[0], data, sizeof data), 2);
    CHECK_INT(take_fd(fds[0], &taken[1], data, sizeof data), 2);
    CHECK_INT(guarded_read(fds[0], data, sizeof data), 2);
    CHECK_INT(co_write(taken[1], "p", 1), 1);
    CHECK_INT(guarded_read(taken[0], &byte, 1), 1);
    CHECK_INT(byte, 'p');
    for (int i = 0; i < 2; i++) {
        co_close(fds[i]);
        close(carried[i]);
        close(taken[i]);
    }
    return 0;
}

static void passed_fds_arrive_with_their_bytes(void **state)
{
    (void)state;
    assert_int_equal(run_task(pass_fds, (&(bool){true})), 0);
    assert_int_equal(run_task(pass_fds, (&(bool){false})), 0);
}

/* With more bytes than the socket takes at once the fd must go once, with the first of them. */
enum { LONG = 1 << 20 };
static char long_text[LONG];

static int pass_with_long_text(void *arg)
{
    int *fds = arg;
    pass_fd(fds[1], fds[1], long_text, LONG);
    return 0;
}

static int pass_long(void *arg)
{
    int fds[2], fd, count = 0;
    static char data[4096];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    for (int i = 0; i < 2 && *(bool *)arg; i++)
        CHECK_INT(co_adopt(fds[i]), 0);
    co_task_t *task = co_spawn(pass_with_long_text, fds);
    for (ssize_t got = 0, n; got < LONG; got += n) {
        n = take_fd(fds[0], &fd, data, sizeof data);
        CHECK(n > 0);
        if (fd >= 0) {
            count++;
            close(fd);
        }
    }
    CHECK_INT(count, 1);
    CHECK_INT(co_await_task(task), 0);
    co_close(fds[0]);
    co_close(fds[1]);
    return 0;
}

static void an_fd_passed_with_many_bytes_arrives_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(pass_long, (&(bool){true})), 0);
    assert_int_equal(run_task(pass_long, (&(bool){false})), 0);
}

/* --- Flags ------------------------------------------------------------------------------------ */

static int peek(void *arg)
{
    int fds[2];
    char data[8];
    ssize_t n = 0;
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    if (*(bool *)arg)
        CHECK_INT(co_adopt(fds[0]), 0);
    CHECK_INT(write(fds[1], "abc", 3), 3);
    for (int i = 0; i < 3; i++) {
        co_timeout(GUARD_MS) n = co_recv(fds[0], data, sizeof data, MSG_PEEK);
        CHECK_INT(n, 3);
    }
    CHECK_INT(guarded_read(fds[0], data, sizeof data), 3);
    co_close(fds[0]);
    close(fds[1]);
    return 0;
}

static void peeking_takes_nothing_away(void **state)
{
    (void)state;
    assert_int_equal(run_task(peek, (&(bool){true})), 0);
    assert_int_equal(run_task(peek, (&(bool){false})), 0);
}

/* --- Resets ----------------------------------------------------------------------------------- */

static void open_tcp_pair(int fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(listener, (struct sockaddr *)&address, length), 0);
    CHECK_INT(listen(listener, 1), 0);
    CHECK_INT(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(connect(fds[1], (struct sockaddr *)&address, length), 0);
    fds[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(fds[0] >= 0);
    close(listener);
}

static int reset_later(void *arg)
{
    struct linger now = {1, 0};
    co_sleep(1);
    setsockopt(*(int *)arg, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    return close(*(int *)arg);
}

static int reset_reader(void *arg)
{
    int fds[2];
    char byte;
    open_tcp_pair(fds);
    if (*(bool *)arg)
        CHECK_INT(co_adopt(fds[0]), 0);
    co_task_t *task = co_spawn(reset_later, &fds[1]);
    CHECK_INT(guarded_read(fds[0], &byte, 1), -ECONNRESET);
    CHECK_INT(co_await_task(task), 0);
    CHECK_INT(co_write(fds[0], "x", 1), -EPIPE);
    CHECK_INT(guarded_read(fds[0], &byte, 1), 0);
    co_close(fds[0]);
    return 0;
}

static int reset_writer(void *arg)
{
    int fds[2];
    ssize_t n = 0;
    static char big[1 << 16];
    open_tcp_pair(fds);
    if (*(bool *)arg)
        CHECK_INT(co_adopt(fds[0]), 0);
    co_task_t *task = co_spawn(reset_later, &fds[1]);
    co_timeout(GUARD_MS) while (n >= 0) n = co_write(fds[0], big, sizeof big);
    CHECK(n == -ECONNRESET || n == -EPIPE);
    CHECK_INT(co_await_task(task), 0);
    co_close(fds[0]);
    return 0;
}

static void a_reset_ends_reads_and_writes(void **state)
{
    (void)state;
    for (int own = 0; own < 2; own++) {
        assert_int_equal(run_real_task(reset_reader, (&(bool){own})), 0);
        assert_int_equal(run_real_task(reset_writer, (&(bool){own})), 0);
    }
}

/* --- Flags ------------------------------------------------------------------------------------ */

static int write_ab(void *arg)
{
    CHECK_INT(co_write(*(int *)arg, "ab", 2), 2);
    return 0;
}

static int use_flags(void *arg)
{
    int fds[2];
    char data[4];
    ssize_t n = 0;
    make_socketpair(fds);
    for (int i = 0; i < 2 && *(bool *)arg; i++)
        CHECK_INT(co_adopt(fds[i]), 0);
    co_timeout(0) n = co_recv(fds[0], data, 4, 0);
    CHECK_INT(n, -ETIMEDOUT);
    CHECK_INT(co_go(write_ab, &fds[1]), 0);
    CHECK_INT(co_recv(fds[0], data, 4, MSG_WAITALL), 2);
    CHECK_INT(co_go(write_ab, &fds[1]), 0);
    CHECK_INT(co_recv(fds[0], data, 4, MSG_DONTWAIT), 2);
    write_ab(&fds[1]);
    co_timeout(0) n = co_recv(fds[0], data, 4, 0);
    CHECK_INT(n, 2);
    while (n > 0)
        n = send(fds[1], data, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    co_timeout(1000) n = co_send(fds[1], data, 1, MSG_DONTWAIT);
    CHECK_INT(n, -ETIMEDOUT);
    co_close(fds[0]);
    co_close(fds[1]);
    return 0;
}

static void flags_neither_prolong_a_wait_nor_prevent_it(void **state)
{
    (void)state;
    for (int own = 0; own < 2; own++)
        assert_int_equal(run_task(use_flags, (&(bool){own})), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queued_udp_datagrams_are_all_read),
        cmocka_unit_test(queued_unix_messages_are_all_read),
        cmocka_unit_test(a_full_datagram_queue_makes_the_sender_wait),
        cmocka_unit_test(datagrams_may_be_empty_and_not_too_long),
        cmocka_unit_test(a_refused_datagram_is_an_error_of_the_next_read),
        cmocka_unit_test(passed_fds_arrive_with_their_bytes),
        cmocka_unit_test(an_fd_passed_with_many_bytes_arrives_once),
        cmocka_unit_test(peeking_takes_nothing_away),
        cmocka_unit_test(a_reset_ends_reads_and_writes),
        cmocka_unit_test(flags_neither_prolong_a_wait_nor_prevent_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
