/* test_selector.h: what the tests of the selectors start with: a selector and two connected
 * sockets. Included once by each test_selector*.c, which runs its tests on each backend there
 * is; those on others are skipped. */
#ifndef TEST_SELECTOR_H
#define TEST_SELECTOR_H

#include "support.h"

#include "base/clock.h"
#include "selector/selector.h"

#include <sys/socket.h>

#define WAIT_MAX (30 * NS_PER_S) /* for what must come: a hang then fails */

static const struct selector_ops *ops;
static struct selector *s;
static int fds[2];
static struct selector_event events[64];

static int set_up(void **state)
{
    ops = *state;
    close_loop(open_loop()); /* brings the allocator that can fail */
    s = ops->open();
    make_socketpair(fds);
    return s ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    ops->close(s);
    close(fds[0]);
    close(fds[1]);
    return blocks() == 0 ? 0 : -1;
}

static inline void fill(int fd, size_t n)
{
    char text[64] = {0};
    assert_int_equal(write(fd, text, n), n);
}

static inline void expect_nothing(void)
{
    assert_int_equal(ops->wait(s, 0, events, 64), 0);
}

static inline void expect_one(int fd, uint32_t generation, unsigned ready)
{
    assert_int_equal(ops->wait(s, WAIT_MAX, events, 64), 1);
    assert_int_equal(events[0].fd, fd);
    assert_int_equal(events[0].generation, generation);
    assert_int_equal(events[0].ready, ready);
}

static inline bool is(const char *name)
{
    return strcmp(ops->name, name) == 0;
}

/* A hang-up or an error of an fd that was asked for in one direction: epoll and poll tell it with
 * both, kqueue has a knote for each. */
static inline void expect_hang_up(int fd, uint32_t generation, unsigned asked)
{
    unsigned told = is("kqueue") ? asked : SELECT_READ | SELECT_WRITE;
    expect_one(fd, generation, told | SELECT_HANGUP);
}

static inline void no_such_backend(void **state)
{
    (void)state;
    skip();
}

/* A test on one backend, on those that tell edges, or on all. */
#define ON(backend, test)                                                                          \
    {                                                                                              \
#test " (" backend ")", coloop__selector_find(backend) ? test : no_such_backend,           \
            coloop__selector_find(backend) ? set_up : NULL,                                        \
            coloop__selector_find(backend) ? tear_down : NULL,                                     \
            (void *)(uintptr_t)coloop__selector_find(backend)                                      \
    }
#define ON_EPOLL(test) ON("epoll", test)
#define ON_KQUEUE(test) ON("kqueue", test)
#define ON_POLL(test) ON("poll", test)
#define ON_EDGE(test) ON_EPOLL(test), ON_KQUEUE(test)
#define ON_ALL(test) ON_EDGE(test), ON_POLL(test)

#endif
