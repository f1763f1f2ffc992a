/* Reads, writes, connections and servers through the search: no byte is lost or doubled, no
 * connection left open, and a server ends after its handlers, whatever happens to whom. All over
 * UNIX sockets, where things happen at once, as virtual time wants it. */
#include "test_exploration.h"

#include <stdio.h>
#include <sys/un.h>

enum { SECOND = 1000 };

static void shrink_buffer(int fd)
{
    int size = 1; /* the least there is, some 4 KiB */
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

/* --- Bytes: one writer, one reader, much more than a buffer takes ----------------------------- */

enum { BYTES = 60000, PIECE = 1500, PERIOD = 251 };

static struct {
    bool own; /* the loop's fds, or foreign ones */
    int fds[2];
    unsigned char data[BYTES];
    size_t sent, received; /* as the calls told */
} b;

static int setup_bytes(void *arg)
{
    wrong = NULL;
    b.own = *(bool *)arg;
    b.sent = b.received = 0;
    for (size_t i = 0; i < BYTES; i++)
        b.data[i] = (unsigned char)(i % PERIOD);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, b.fds) < 0)
        return -errno;
    shrink_buffer(b.fds[0]);
    if (b.own && (co_adopt(b.fds[0]) < 0 || co_adopt(b.fds[1]) < 0))
        return -ENOMEM;
    return 0;
}

static void take_bytes(const unsigned char *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        HOLDS(data[i] == (b.received + i) % PERIOD);
    b.received += n;
}

/* What the reader did not live to see is still in the socket. */
static const char *check_bytes(void *arg)
{
    unsigned char rest[4096];
    ssize_t n;
    (void)arg;
    while ((n = recv(b.fds[1], rest, sizeof rest, MSG_DONTWAIT)) > 0)
        take_bytes(rest, (size_t)n);
    HOLDS(b.received == b.sent);
    return wrong;
}

/* After the loop is closed, so that closing is no part of the run. */
static void teardown_bytes(void *arg)
{
    (void)arg;
    close(b.fds[0]);
    close(b.fds[1]);
}

static int write_all(void *arg)
{
    int rc = 0;
    (void)arg;
    while (rc == 0 && b.sent < BYTES) {
        ssize_t n = -EIO;
        co_timeout(SECOND) n = co_write(b.fds[0], b.data + b.sent, BYTES - b.sent);
        HOLDS(n != 0 && n <= (ssize_t)(BYTES - b.sent));
        rc = n < 0 ? (int)n : 0;
        b.sent += n > 0 ? (size_t)n : 0;
    }
    shutdown(b.fds[0], SHUT_WR);
    return rc;
}

static int read_all(void *arg)
{
    unsigned char piece[PIECE];
    ssize_t n;
    (void)arg;
    for (;;) {
        n = -EIO;
        co_timeout(SECOND) n = co_read(b.fds[1], piece, sizeof piece);
        if (n <= 0)
            return (int)n;
        take_bytes(piece, (size_t)n);
    }
}

static int run_bytes(void *arg)
{
    return co_gather(co_spawn(write_all, arg), co_spawn(read_all, arg));
}

#define BYTES_SCENARIO(which, fn, is_own)                                                          \
    static const co_test_scenario_t which = {.name = #which,                                       \
                                             .setup = setup_bytes,                                 \
                                             .run = (fn),                                          \
                                             .check = check_bytes,                                 \
                                             .teardown = teardown_bytes,                           \
                                             .arg = &(bool){is_own}};                              \
    SEARCH(which)
BYTES_SCENARIO(own_bytes, run_bytes, true)
BYTES_SCENARIO(foreign_bytes, run_bytes, false)

/* From and to several places at a time; what is left of a piece is written with the next. */
static int write_vectors(void *arg)
{
    int rc = 0;
    (void)arg;
    while (rc == 0 && b.sent < BYTES) {
        unsigned char *data = b.data + b.sent;
        size_t third = (BYTES - b.sent) / 3;
        struct iovec iov[] = {
            {data, third}, {data + third, 0}, {data + third, BYTES - b.sent - third}};
        ssize_t n = -EIO;
        co_timeout(SECOND) n = co_writev(b.fds[0], iov, 3);
        rc = n < 0 ? (int)n : 0;
        b.sent += n > 0 ? (size_t)n : 0;
    }
    shutdown(b.fds[0], SHUT_WR);
    return rc;
}

static int read_vectors(void *arg)
{
    unsigned char piece[PIECE];
    struct iovec iov[] = {{piece, 7}, {piece + 7, sizeof piece - 7}};
    ssize_t n;
    (void)arg;
    for (;;) {
        n = -EIO;
        co_timeout(SECOND) n = co_readv(b.fds[1], iov, 2);
        if (n <= 0)
            return (int)n;
        take_bytes(piece, (size_t)n);
    }
}

static int run_vectors(void *arg)
{
    return co_gather(co_spawn(write_vectors, arg), co_spawn(read_vectors, arg));
}
BYTES_SCENARIO(vectors, run_vectors, true)

/* A reader that is out of time again and again. */
enum { SOME = 1000, STEP = 100 };

static int write_slowly(void *arg)
{
    int rc = 0;
    (void)arg;
    while (rc >= 0 && b.sent < SOME) {
        rc = co_sleep(3);
        ssize_t n = rc < 0 ? rc : co_write(b.fds[0], b.data + b.sent, STEP);
        rc = n < 0 ? (int)n : rc;
        b.sent += n > 0 ? (size_t)n : 0;
    }
    shutdown(b.fds[0], SHUT_WR);
    return rc;
}

static int read_impatiently(void *arg)
{
    unsigned char piece[STEP / 3];
    (void)arg;
    for (;;) {
        ssize_t n = -EIO;
        co_timeout(1) n = co_read(b.fds[1], piece, sizeof piece);
        if (n > 0)
            take_bytes(piece, (size_t)n);
        else if (n != -ETIMEDOUT)
            return (int)n;
    }
}

static int run_impatient(void *arg)
{
    return co_gather(co_spawn(write_slowly, arg), co_spawn(read_impatiently, arg));
}
BYTES_SCENARIO(impatient, run_impatient, true)

/* --- Sites: a listening socket, and clients --------------------------------------------------- */

enum { CLIENTS = 4, FDS = 256 };

static struct {
    struct sockaddr_un address;
    socklen_t length;
    int listener;
    int accepted, closed; /* by who accepts */
    int begun, ended;     /* handlers */
    int answered;         /* clients that got their answer */
    int spare[FDS], spares;
} s;

/* An abstract address, as a file would be left behind. */
static void choose_address(void)
{
    static int number;
    s.address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(s.address.sun_path + 1, sizeof s.address.sun_path - 1,
                     "coloop-exploration-%d-%d", (int)getpid(), number++);
    s.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

/* So many that the loop's table of fds, which grows by 256, has to grow for connections. */
static void take_up_fds(void)
{
    for (int fd = 0; fd >= 0 && fd < FDS - CLIENTS - 1 && s.spares < FDS; s.spares++)
        fd = s.spare[s.spares] = dup(s.listener);
}

static int setup_site(void *arg)
{
    wrong = NULL;
    memset(&s, 0, sizeof s);
    choose_address();
    s.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s.listener < 0)
        return -errno;
    if (bind(s.listener, (struct sockaddr *)&s.address, s.length) < 0 ||
        listen(s.listener, *(int *)arg) < 0)
        return -errno;
    take_up_fds();
    return co_adopt(s.listener);
}

static const char *check_site(void *arg)
{
    (void)arg;
    HOLDS(s.accepted == s.closed);
    HOLDS(s.begun == s.ended);
    return wrong;
}

static void teardown_site(void *arg)
{
    (void)arg;
    while (s.spares > 0)
        close(s.spare[--s.spares]);
    close(s.listener);
}

static void close_it(void *fd)
{
    HOLDS(co_close(*(int *)fd) == 0);
}

/* Sends its number and wants it back. */
static int visit(void *arg)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), answer = 0;
    int rc = 0, question = (int)(intptr_t)arg + 7;
    ssize_t n = -EIO;
    HOLDS(fd >= 0);
    co_defer(close_it, &fd);
    co_timeout(SECOND) rc = co_connect(fd, (struct sockaddr *)&s.address, s.length);
    if (rc == 0)
        rc = co_adopt(fd);
    if (rc < 0)
        return rc;
    co_timeout(SECOND) n = co_write(fd, &question, sizeof question);
    if (n == (ssize_t)sizeof question)
        co_timeout(SECOND) n = co_read(fd, &answer, sizeof answer);
    if (n != (ssize_t)sizeof answer)
        return n < 0 ? (int)n : -EPIPE;
    HOLDS(answer == question);
    s.answered++;
    return 0;
}

static int visit_all(void)
{
    void *numbers[CLIENTS];
    for (intptr_t i = 0; i < CLIENTS; i++)
        numbers[i] = (void *)i;
    return start_and_gather(visit, numbers, CLIENTS);
}

/* Answers one question at a time, and the peer's end ends it. */
static int answer(int fd)
{
    for (;;) {
        int question = 0;
        ssize_t n = -EIO;
        co_timeout(SECOND) n = co_read(fd, &question, sizeof question);
        if (n == (ssize_t)sizeof question)
            co_timeout(SECOND) n = co_write(fd, &question, sizeof question);
        if (n != (ssize_t)sizeof question)
            return n < 0 ? (int)n : 0;
    }
}

/* --- Accepting by hand: with a queue of one, connecting has to be tried again ----------------- */

static void close_accepted(void *fd)
{
    close_it(fd);
    s.closed++;
}

static int accept_one(void)
{
    int fd = -EIO;
    co_timeout(SECOND) fd = co_accept(s.listener, NULL, NULL);
    if (fd < 0)
        return fd;
    s.accepted++;
    co_defer(close_accepted, &fd);
    return answer(fd);
}

static int accept_all(void *arg)
{
    int rc = 0;
    (void)arg;
    for (int i = 0; i < CLIENTS && (rc >= 0 || rc == -ENOMEM); i++)
        rc = accept_one();
    return rc;
}

static int run_accept(void *arg)
{
    (void)arg;
    co_task_t *acceptor = co_spawn(accept_all, NULL);
    int rc = visit_all(), end = co_await_task(acceptor);
    HOLDS(s.answered <= s.accepted);
    return rc < 0 ? rc : s.answered < CLIENTS && end == 0 ? -EPROTO : end;
}

static const co_test_scenario_t accepting = {.name = "accepting",
                                             .setup = setup_site,
                                             .run = run_accept,
                                             .check = check_site,
                                             .teardown = teardown_site,
                                             .arg = &(int){0}};
SEARCH(accepting)

/* --- Servers ---------------------------------------------------------------------------------- */

static void note_end(void *arg)
{
    (void)arg;
    s.ended++;
}

static int handle(int fd, void *arg)
{
    HOLDS(arg == &s);
    s.begun++;
    co_defer(note_end, NULL);
    return answer(fd);
}

/* Goes on for 8 ms after its client left, and cleans up for 3 more. */
static int handle_long(int fd, void *arg)
{
    int rc = handle(fd, arg);
    s.begun++;
    co_defer(note_end, NULL);
    int slept = co_sleep(8);
    co_shield() co_sleep(3);
    return rc < 0 ? rc : slept;
}

static int serve(void *options)
{
    bool is_long = ((const co_serve_options_t *)options)->grace_ms > 0;
    int rc = co_serve(s.listener, is_long ? handle_long : handle, &s, options);
    HOLDS(s.begun == s.ended); /* it outlives its handlers */
    return rc;
}

static int run_serve(const co_serve_options_t *options)
{
    co_task_t *server = co_spawn(serve, (void *)options);
    int rc = visit_all();
    if (!server)
        return -ENOMEM;
    co_task_cancel(server);
    int end = co_await_task(server);
    HOLDS(end == -ECANCELED || end == -ENOMEM);
    return rc < 0 ? rc : 0;
}

static int run_limited(void *arg)
{
    static const co_serve_options_t options = {.limit = 2};
    (void)arg;
    return run_serve(&options);
}

/* The handlers are cancelled in their sleep, as the grace is short. */
static int run_graceful(void *arg)
{
    static const co_serve_options_t options = {.grace_ms = 5};
    (void)arg;
    return run_serve(&options);
}

static int run_patient(void *arg)
{
    static const co_serve_options_t options = {
        .limit = 3, .grace_ms = 100, .stack_size = 128 * 1024};
    (void)arg;
    return run_serve(&options);
}

/* Nobody cancels it: its time is over. */
static int serve_for_30_ms(void *options)
{
    int rc = 1;
    co_timeout(30) rc = serve(options);
    return rc;
}

static int run_timed(void *arg)
{
    static const co_serve_options_t options = {.limit = 1};
    co_task_t *server = co_spawn(serve_for_30_ms, (void *)&options);
    (void)arg;
    int rc = visit_all(), end = co_await_task(server);
    HOLDS(end == -ETIMEDOUT || end == -ECANCELED || end == -ENOMEM);
    return rc < 0 ? rc : end == -ETIMEDOUT ? 0 : end;
}

#define SERVER_SCENARIO(which)                                                                     \
    static const co_test_scenario_t which = {.name = #which,                                       \
                                             .setup = setup_site,                                  \
                                             .run = run_##which,                                   \
                                             .check = check_site,                                  \
                                             .teardown = teardown_site,                            \
                                             .arg = &(int){8}};                                    \
    SEARCH(which)
SERVER_SCENARIO(limited)
SERVER_SCENARIO(graceful)
SERVER_SCENARIO(patient)
SERVER_SCENARIO(timed)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SEARCHED(own_bytes), SEARCHED(foreign_bytes), SEARCHED(vectors),
        SEARCHED(impatient), SEARCHED(accepting),     SEARCHED(limited),
        SEARCHED(graceful),  SEARCHED(patient),       SEARCHED(timed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
