/* test_kqueue_shim.h: a kqueue, two connected sockets, and calls that say what is expected.
 * Included once by each test_kqueue_shim*.c. */
#ifndef TEST_KQUEUE_SHIM_H
#define TEST_KQUEUE_SHIM_H

#include "support.h"

#include <sys/types.h>

#include <sys/event.h>
#include <sys/socket.h>
#include <sys/time.h>

static int kq, fds[2];
static struct kevent got[8];
static const struct timespec none, soon = {10, 0}; /* the latter for what must come */

static int set_up(void **state)
{
    (void)state;
    kq = kqueue();
    make_socketpair(fds);
    return kq < 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(fds[0]);
    close(fds[1]);
    return close(kq);
}

/* Makes one change: 0 or the errno. */
static inline int change(int fd, int filter, unsigned flags, unsigned fflags, intptr_t data,
                         void *udata)
{
    struct kevent event;
    EV_SET(&event, (uintptr_t)fd, (short)filter, (unsigned short)flags, fflags, data, udata);
    return kevent(kq, &event, 1, NULL, 0, &none) < 0 ? errno : 0;
}

static inline void add(int fd, int filter, unsigned flags)
{
    assert_int_equal(change(fd, filter, EV_ADD | flags, 0, 0, NULL), 0);
}

static inline void expect_none(void)
{
    assert_int_equal(kevent(kq, NULL, 0, got, 8, &none), 0);
}

static inline void expect(int ident, int filter)
{
    assert_int_equal(kevent(kq, NULL, 0, got, 8, &soon), 1);
    assert_int_equal(got[0].ident, ident);
    assert_int_equal(got[0].filter, filter);
    assert_false(got[0].flags & EV_ERROR);
}

#define ON_KQ(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

#endif
