/* Channels and select through the search: each item whose sending succeeded arrives exactly once or
 * is still in the channel, and one whose sending failed never does. */
#include "test_exploration.h"

enum { SENDERS = 2, RECEIVERS = 2, ITEMS = 4 };

struct kind {
    size_t capacity;
    co_chan_options_t options;
    bool select; /* instead of send and recv */
};

static struct {
    co_chan_t *chan, *other; /* select uses both */
    co_event_t stop;
    int sent[SENDERS * ITEMS], got[SENDERS * ITEMS], senders, receivers;
} w;

static int setup_chan(void *arg)
{
    const struct kind *kind = arg;
    memset(&w, 0, sizeof w);
    wrong = NULL;
    w.senders = SENDERS;
    w.receivers = RECEIVERS;
    w.chan = co_chan_new_with(sizeof(int), kind->capacity, &kind->options);
    w.other = co_chan_new_with(sizeof(int), kind->capacity, &kind->options);
    return w.chan && w.other ? 0 : -ENOMEM;
}

static void teardown_chan(void *arg)
{
    (void)arg;
    co_chan_free(w.chan);
    co_chan_free(w.other);
}

static void close_both(void)
{
    co_chan_close(w.chan);
    co_chan_close(w.other);
}

/* The last of either side that leaves closes the channels. */
static void leave(int *side)
{
    if (--*side == 0)
        close_both();
}

static int send_one(const struct kind *kind, int item)
{
    if (!kind->select)
        return co_chan_send(w.chan, &item);
    co_case_t cases[] = {CO_SEND(w.chan, &item), CO_SEND(w.other, &item), CO_AFTER(50)};
    int which = co_select(cases, 3);
    return which < 0 ? which : which == 2 ? -EAGAIN : cases[which].result;
}

static int receive_one(const struct kind *kind, int *item)
{
    if (!kind->select)
        return co_chan_recv(w.chan, item);
    co_case_t cases[] = {CO_RECV(w.chan, item), CO_RECV(w.other, item), CO_EVENT(&w.stop)};
    int which = co_select(cases, 3);
    return which < 0 ? which : cases[which].result;
}

static int send_items(const struct kind *kind, int first)
{
    int rc = 0;
    for (int i = first; i < first + ITEMS && rc == 0; i++) {
        rc = send_one(kind, i);
        w.sent[i] = rc == 0;
        if (rc == 0 && i % 2)
            rc = co_yield_now();
    }
    leave(&w.senders);
    return rc;
}

static int send_low(void *arg)
{
    return send_items(arg, 0);
}

static int send_high(void *arg)
{
    return send_items(arg, ITEMS);
}

static int receive_items(void *arg)
{
    int rc, item = -1;
    while ((rc = receive_one(arg, &item)) == 0) {
        HOLDS(item >= 0 && item < SENDERS * ITEMS);
        w.got[item]++;
        item = -1;
        if ((rc = co_sleep(1)) < 0)
            break;
    }
    HOLDS(item == -1); /* nothing was written by a call that failed */
    leave(&w.receivers);
    return rc == -EPIPE ? 0 : rc;
}

static int run_chan(void *arg)
{
    co_task_t *tasks[] = {co_spawn(receive_items, arg), co_spawn(send_low, arg),
                          co_spawn(receive_items, arg), co_spawn(send_high, arg)};
    for (int i = 0; i < 4; i++)
        if (!tasks[i])
            leave(i % 2 ? &w.senders : &w.receivers);
    int rc = co_gather_all(tasks, 4, NULL);
    return rc < 0 ? rc : 0;
}

static const char *check_chan(void *arg)
{
    (void)arg;
    for (int item; co_chan_try_recv(w.chan, &item) == 0 || co_chan_try_recv(w.other, &item) == 0;)
        w.got[item]++;
    for (int i = 0; i < SENDERS * ITEMS; i++) {
        HOLDS(!(w.sent[i] && w.got[i] == 0));
        HOLDS(!(!w.sent[i] && w.got[i] > 0));
        HOLDS(w.got[i] <= 1);
    }
    return wrong;
}

static int compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static struct kind kinds[] = {
    {0, {CO_FIFO, NULL}, false},
    {1, {CO_FIFO, NULL}, false},
    {3, {CO_LIFO, NULL}, false},
    {2, {CO_PRIORITY, compare}, false},
    {CO_UNBOUNDED, {CO_FIFO, NULL}, false},
    {0, {CO_FIFO, NULL}, true},
    {1, {CO_FIFO, NULL}, true},
    {2, {CO_PRIORITY, compare}, true},
};

#define CHAN_SCENARIO(which, number)                                                               \
    static const co_test_scenario_t which = {#which,        setup_chan,     run_chan, check_chan,  \
                                             teardown_chan, &kinds[number], NULL,     NULL};       \
    SEARCH(which)
CHAN_SCENARIO(rendezvous, 0)
CHAN_SCENARIO(buffered, 1)
CHAN_SCENARIO(lifo, 2)
CHAN_SCENARIO(priority, 3)
CHAN_SCENARIO(unbounded, 4)
CHAN_SCENARIO(select_on_rendezvous, 5)
CHAN_SCENARIO(select_on_buffered, 6)
CHAN_SCENARIO(select_on_priority, 7)

/* --- Select among all kinds of cases ---------------------------------------------------------- */

static struct {
    co_chan_t *chan;
    co_event_t event;
    co_future_t future;
    int fds[2], sent, got, happened[16];
} k;

static int setup_kinds(void *arg)
{
    (void)arg;
    memset(&k, 0, sizeof k);
    wrong = NULL;
    k.chan = co_chan_new(sizeof(int), 0);
    return !k.chan ? -ENOMEM : pipe(k.fds) < 0 ? -errno : 0;
}

static void teardown_kinds(void *arg)
{
    (void)arg;
    co_chan_free(k.chan);
    close(k.fds[0]);
    close(k.fds[1]);
}

static int sleep_a_while(void *arg)
{
    (void)arg;
    return co_sleep(9);
}

/* More cases than select keeps on its stack. */
static int select_once(co_task_t *task)
{
    int item;
    co_case_t cases[] = {CO_RECV(k.chan, &item),   CO_EVENT(&k.event), CO_FUTURE(&k.future),
                         CO_FD(k.fds[0], CO_READ), CO_AFTER(20),       CO_TASK(task),
                         CO_FD(k.fds[0], CO_READ), CO_AFTER(-1),       CO_EVENT(&k.event),
                         CO_RECV(k.chan, NULL)};
    int rc = co_select(cases, 10);
    if (rc >= 0)
        k.happened[rc]++;
    k.got += rc == 0 || rc == 9;
    return rc;
}

static int select_kinds(void *arg)
{
    (void)arg;
    co_task_t *task = co_spawn(sleep_a_while, NULL);
    int rc = task ? 0 : -ENOMEM;
    for (int i = 0; i < 4 && rc >= 0; i++) {
        rc = select_once(task);
        if (rc >= 0)
            co_event_clear(&k.event);
    }
    int ended = task ? co_await_task(task) : 0;
    return rc < 0 ? rc : ended;
}

static int make_happen(void *arg)
{
    (void)arg;
    int item = 1, rc = co_sleep(1);
    if (rc == 0)
        co_timeout(2) k.sent += co_chan_send(k.chan, &item) == 0;
    co_sleep(1);
    co_event_set(&k.event);
    co_yield_now();
    if (rc == 0)
        rc = (int)co_write(k.fds[1], "x", 1);
    co_sleep(1);
    co_future_resolve(&k.future, 0, NULL);
    return rc < 0 ? rc : 0;
}

static int run_kinds(void *arg)
{
    (void)arg;
    co_task_t *tasks[] = {co_spawn(select_kinds, NULL), co_spawn(make_happen, NULL)};
    int rc = co_gather_all(tasks, 2, NULL);
    return rc < 0 ? rc : 0;
}

static const char *check_kinds(void *arg)
{
    (void)arg;
    HOLDS(k.sent == k.got);
    return wrong;
}

static const co_test_scenario_t select_of_all_kinds = {.name = "select_of_all_kinds",
                                                       .setup = setup_kinds,
                                                       .run = run_kinds,
                                                       .check = check_kinds,
                                                       .teardown = teardown_kinds};
SEARCH(select_of_all_kinds)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SEARCHED(rendezvous),         SEARCHED(buffered),           SEARCHED(lifo),
        SEARCHED(priority),           SEARCHED(unbounded),          SEARCHED(select_on_rendezvous),
        SEARCHED(select_on_buffered), SEARCHED(select_on_priority), SEARCHED(select_of_all_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
