/* <sys/event.h> for the tests on Linux: what kqueue(2) of the BSDs describes, of it the filters
 * that an event loop needs. The values are nobody's in particular. KQUEUE_OLD hides what came later
 * than the rest and is still missing on some systems. */
#ifndef TESTS_KQUEUE_SYS_EVENT_H
#define TESTS_KQUEUE_SYS_EVENT_H

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)
#define EVFILT_TIMER (-3)

#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_ENABLE 0x0004
#define EV_DISABLE 0x0008
#define EV_ONESHOT 0x0010
#define EV_CLEAR 0x0020

#define EV_ERROR 0x4000 /* returned only */
#define EV_EOF 0x8000

#define NOTE_SECONDS 0x0001 /* of EVFILT_TIMER; else milliseconds */
#define NOTE_USECONDS 0x0002
#define NOTE_NSECONDS 0x0004

#ifndef KQUEUE_OLD
#define EVFILT_USER (-4)

#define EV_RECEIPT 0x0040
#define EV_DISPATCH 0x0080
#define EV_OOBAND 0x2000 /* of EVFILT_READ, as on macOS: urgent data */

#define NOTE_TRIGGER 0x01000000 /* of EVFILT_USER */
#define NOTE_FFNOP 0x00000000
#define NOTE_FFAND 0x40000000
#define NOTE_FFOR 0x80000000
#define NOTE_FFCOPY 0xc0000000
#define NOTE_FFCTRLMASK 0xc0000000
#define NOTE_FFLAGSMASK 0x00ffffff
#endif

struct kevent {
    uintptr_t ident;
    short filter;
    unsigned short flags;
    unsigned fflags;
    intptr_t data;
    void *udata;
};

#define EV_SET(event, a, b, c, d, e, f)                                                            \
    do {                                                                                           \
        struct kevent *ev_set = (event);                                                           \
        ev_set->ident = (a);                                                                       \
        ev_set->filter = (b);                                                                      \
        ev_set->flags = (c);                                                                       \
        ev_set->fflags = (d);                                                                      \
        ev_set->data = (e);                                                                        \
        ev_set->udata = (f);                                                                       \
    } while (0)

int kqueue(void);
int kevent(int kq, const struct kevent *changes, int change_count, struct kevent *events,
           int event_count, const struct timespec *timeout);

#endif
