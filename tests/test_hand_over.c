/* Handing over costs neither memory nor a system call: mutex, condition, event, semaphore, barrier,
 * read-write lock, channels, select, futures. Two tasks hand over to each other for a while, then
 * all allocations fail and system calls are forbidden, and they go on. Each path is a process of
 * its own, as the ban is for ever. */
#include "test_forked.h"
#include "test_syscalls.h"

enum { WARM_UP = 1000, ROUNDS = 5000, WANTED_MEMORY = 1, STUCK, CALLED, REFUSED };

/* One round, the i-th, of one of the two tasks: side 0 or 1. */
typedef void round_fn(int side, int i);

static bool forbids; /* system calls as well as memory */
static int rounds;   /* of side 0 */
static round_fn *play_round;

/* --- Paths ------------------------------------------------------------------------------------ */

static co_mutex_t mutex;
static co_cond_t conds[2];
static co_event_t events[2];
static co_sem_t sems[2];
static co_barrier_t barrier;
static co_rwlock_t rwlock;
static co_chan_t *bounded, *rendezvous[2];
static co_future_t futures[2];
static int turn;

static void pass_mutex(int side, int i)
{
    (void)side, (void)i;
    CHECK_INT(co_mutex_lock(&mutex), 0);
    CHECK_INT(co_yield_now(), 0); /* the other one queues */
    co_mutex_unlock(&mutex);
}

static void pass_cond(int side, int i)
{
    CHECK_INT(co_mutex_lock(&mutex), 0);
    while (turn != side)
        CHECK_INT(co_cond_wait(&conds[side], &mutex), 0);
    turn = !side;
    if (i % 2)
        co_cond_signal(&conds[!side]);
    else
        co_cond_broadcast(&conds[!side]);
    co_mutex_unlock(&mutex);
}

static void pass_event(int side, int i)
{
    (void)i;
    co_event_set(&events[!side]);
    CHECK_INT(co_event_wait(&events[side]), 0);
    co_event_clear(&events[side]);
}

static void pass_sem(int side, int i)
{
    (void)i;
    co_sem_release(&sems[!side]);
    CHECK_INT(co_sem_acquire(&sems[side]), 0);
}

static void pass_barrier(int side, int i)
{
    (void)side, (void)i;
    CHECK(co_barrier_wait(&barrier) >= 0);
}

static void pass_rwlock(int side, int i)
{
    (void)i;
    CHECK_INT(side ? co_rwlock_rdlock(&rwlock) : co_rwlock_wrlock(&rwlock), 0);
    CHECK_INT(co_yield_now(), 0);
    co_rwlock_unlock(&rwlock);
}

static void pass_bounded(int side, int i)
{
    int got = 0;
    if (side) {
        CHECK_INT(co_chan_send(bounded, &i), 0);
    } else {
        CHECK_INT(co_chan_recv(bounded, &got), 0);
        CHECK_INT(got, i);
    }
}

static void pass_rendezvous(int side, int i)
{
    int got = 0;
    if (side)
        CHECK_INT(co_chan_send(rendezvous[0], &i), 0);
    CHECK_INT(co_chan_recv(rendezvous[side], &got), 0);
    CHECK_INT(got, i);
    if (!side)
        CHECK_INT(co_chan_send(rendezvous[1], &got), 0);
}

/* What a select of side 0 waits for: each round something else happens. */
static void feed_select(int i)
{
    switch (i % 4) {
    case 0:
        CHECK_INT(co_chan_send(rendezvous[0], &i), 0);
        break;
    case 1:
        CHECK_INT(co_chan_send(bounded, &i), 0);
        break;
    case 2:
        co_event_set(&events[0]);
        break;
    default:
        CHECK_INT(co_future_resolve(&futures[0], 0, NULL), 0);
    }
    CHECK_INT(co_sem_acquire(&sems[0]), 0);
}

static void pass_select(int side, int i)
{
    int got;
    if (side) {
        feed_select(i);
        return;
    }
    co_case_t cases[] = {CO_RECV(rendezvous[0], &got), CO_RECV(bounded, &got), CO_EVENT(&events[0]),
                         CO_FUTURE(&futures[0]), CO_AFTER(60000)};
    CHECK_INT(co_select(cases, 5), i % 4);
    co_event_clear(&events[0]);
    futures[0] = (co_future_t){0};
    co_sem_release(&sems[0]);
}

static void pass_future(int side, int i)
{
    void *value;
    if (side)
        CHECK_INT(co_future_resolve(&futures[0], i, &turn), 0);
    CHECK_INT(co_await_future(&futures[side], &value), i);
    CHECK(value == &turn);
    futures[side] = (co_future_t){0};
    if (!side)
        CHECK_INT(co_future_resolve(&futures[1], i, value), 0);
}

/* Deadlines that are set and taken back each time, and a scope that is cancelled. */
static void pass_scopes(int side, int i)
{
    co_scope_t scope;
    int rc = 1;
    (void)i;
    co_sem_release(&sems[!side]);
    co_timeout(60000) rc = co_sem_acquire(&sems[side]);
    CHECK_INT(rc, 0);
    co_scope_enter(&scope, 60000);
    co_scope_cancel(&scope);
    CHECK_INT(co_sem_acquire(&sems[side]), -ECANCELED);
    co_scope_leave(&scope);
}

/* --- Running them ----------------------------------------------------------------------------- */

static void make_objects(void)
{
    co_sem_init(&sems[0], 0);
    co_sem_init(&sems[1], 0);
    co_barrier_init(&barrier, 2);
    bounded = co_chan_new(sizeof(int), 3);
    for (int i = 0; i < 2; i++)
        rendezvous[i] = co_chan_new(sizeof(int), 0);
}

/* The ban begins, or the process ends. */
static void count_round(void)
{
    rounds++;
    if (rounds == WARM_UP) {
        fail_allocation(1, true);
        if (forbids && !forbid_system_calls())
            _exit(REFUSED);
    }
    if (rounds == WARM_UP + ROUNDS)
        _exit(allocations() ? WANTED_MEMORY : 0);
}

static int play(void *arg)
{
    int side = arg != NULL;
    for (int i = 0; rounds < WARM_UP + ROUNDS; i++) {
        play_round(side, i);
        if (side == 0)
            count_round();
    }
    return 0;
}

static void run_path(void *arg)
{
    static char other;
    loop_t *loop = open_real_loop();
    (void)arg;
    make_objects();
    co_task_release(co_spawn(play, NULL));
    co_task_release(co_spawn(play, &other));
    loop_run(loop);
    fprintf(stderr, "stuck after %d rounds: %s", rounds, reported());
    _exit(STUCK);
}

static int run_under_ban(round_fn *path, char *words, size_t size)
{
    play_round = path;
    /* these make calls of their own */
    forbids = !under_valgrind() && !under_asan() && !under_tsan();
    int status = run_forked(run_path, NULL, words, size);
    if (status == REFUSED << 8) {
        print_message("seccomp is refused here: only memory is looked at\n");
        forbids = false;
        status = run_forked(run_path, NULL, words, size);
    }
    return status;
}

static void expect_neither(round_fn *path)
{
    char words[4096];
    int status = run_under_ban(path, words, sizeof words);
    if (status == WANTED_MEMORY << 8)
        fail_msg("memory was wanted");
    if (status)
        fail_msg("the child ended with status %#x and wrote: %s", (unsigned)status, words);
}

#define PATH(name)                                                                                 \
    static void name##_costs_neither(void **state)                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        expect_neither(pass_##name);                                                               \
    }

PATH(mutex)
PATH(cond)
PATH(event)
PATH(sem)
PATH(barrier)
PATH(rwlock)
PATH(bounded)
PATH(rendezvous)
PATH(select)
PATH(future)
PATH(scopes)

/* --- The ban itself --------------------------------------------------------------------------- */

static void make_a_call(int side, int i)
{
    (void)side, (void)i;
    CHECK_INT(co_yield_now(), 0);
    if (rounds > WARM_UP)
        getppid();
}

static void do_nothing(co_future_t *future, void *arg)
{
    (void)future, (void)arg;
}

static void want_memory(int side, int i)
{
    (void)side, (void)i;
    CHECK_INT(co_yield_now(), 0);
    if (rounds > WARM_UP)
        co_future_add_done_callback(&futures[0], do_nothing, NULL);
}

static void the_ban_finds_a_call_and_an_allocation(void **state)
{
    (void)state;
    char words[4096];
    assert_int_equal(run_under_ban(want_memory, words, sizeof words), WANTED_MEMORY << 8);
    int status = run_under_ban(make_a_call, words, sizeof words);
    assert_int_equal(status, forbids ? CALLED << 8 : 0);
    assert_true(!forbids || strncmp(words, "system call", strlen("system call")) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mutex_costs_neither),
        cmocka_unit_test(cond_costs_neither),
        cmocka_unit_test(event_costs_neither),
        cmocka_unit_test(sem_costs_neither),
        cmocka_unit_test(barrier_costs_neither),
        cmocka_unit_test(rwlock_costs_neither),
        cmocka_unit_test(bounded_costs_neither),
        cmocka_unit_test(rendezvous_costs_neither),
        cmocka_unit_test(select_costs_neither),
        cmocka_unit_test(future_costs_neither),
        cmocka_unit_test(scopes_costs_neither),
        cmocka_unit_test(the_ban_finds_a_call_and_an_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
