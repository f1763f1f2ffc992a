/* Semaphore, event, barrier, read-write lock, mutex and condition under random operations, each
 * compared with a model: who gets what, in which order, and what each call returns. */
#include "test_model.h"

#include "task/core.h"

/* --- Semaphore: a number of permits ----------------------------------------------------------- */

static struct {
    co_sem_t sem;
    size_t permits, total;
} sem;

static int begin_sem(void *arg)
{
    co_sem_init(&sem.sem, 1);
    sem.permits = sem.total = 1;
    (void)arg;
    reset();
    return 0;
}

static bool acquire(co_test_random_t *random)
{
    struct op op;
    begin(&op, random);
    if (!refused(&op)) {
        if (sem.permits)
            sem.permits--;
        else
            wait_for(&op, &sem.sem, 0);
    }
    return end(&op, co_sem_acquire(&sem.sem)) == 0;
}

static bool try_acquire(void)
{
    settle();
    bool can = sem.permits > 0;
    sem.permits -= can;
    HOLDS(co_sem_tryacquire(&sem.sem) == (can ? 0 : -EAGAIN));
    return can;
}

static void release(void *arg)
{
    (void)arg;
    settle();
    struct op *op = first(&sem.sem, 0);
    if (op)
        serve(op, op->wants, 0);
    else
        sem.permits++;
    co_sem_release(&sem.sem);
}

static void change_total(co_test_random_t *random)
{
    if (sem.total < 4 && by_chance(random, 2)) {
        sem.total++;
        release(NULL);
    } else if (sem.total > 1 && try_acquire()) {
        sem.total--;
    }
}

static void step_sem(void *arg, co_test_random_t *random)
{
    (void)arg;
    disturb(random);
    if (by_chance(random, 8))
        change_total(random);
    if (!(by_chance(random, 4) ? try_acquire() : acquire(random)))
        return;
    rest(random);
    if (!by_chance(random, 4) || loop_call_soon(loop_current(), release, NULL, NULL) < 0)
        release(NULL);
}

static const char *check_sem(void *arg)
{
    (void)arg;
    co_yield_now(); /* the last releases may be on their way */
    HOLDS(sem.permits == sem.total);
    HOLDS(sem.sem.permits == sem.permits);
    return verdict();
}

/* --- Event: a flag ---------------------------------------------------------------------------- */

static struct {
    co_event_t event;
    bool is_set;
} event;

static int begin_event(void *arg)
{
    memset(&event, 0, sizeof event);
    (void)arg;
    reset();
    return 0;
}

static void set_event(void *arg)
{
    (void)arg;
    settle();
    event.is_set = true;
    serve_all(&event.event, 0, 0);
    co_event_set(&event.event);
}

static void clear_event(void)
{
    event.is_set = false;
    co_event_clear(&event.event);
}

static void wait_event(co_test_random_t *random)
{
    struct op op;
    begin(&op, random);
    if (!refused(&op) && !event.is_set)
        wait_for(&op, &event.event, 0);
    end(&op, co_event_wait(&event.event));
}

static void step_event(void *arg, co_test_random_t *random)
{
    disturb(random);
    switch (co_test_below(random, 12)) {
    case 0:
        set_event(arg);
        break;
    case 1:
        loop_call_soon(loop_current(), set_event, NULL, NULL);
        break;
    case 2:
        set_event(arg);
        clear_event();
        break;
    case 3:
    case 4:
        clear_event();
        break;
    default:
        wait_event(random);
    }
    HOLDS(co_event_is_set(&event.event) == event.is_set);
}

static const char *check_event(void *arg)
{
    (void)arg;
    return verdict();
}

/* --- Barrier: a number that have arrived ------------------------------------------------------ */

static struct {
    co_barrier_t barrier;
    size_t parties, arrived;
    bool broken;
} bar;

static int begin_barrier(void *arg)
{
    memset(&bar, 0, sizeof bar);
    (void)arg;
    reset();
    return 0;
}

static void break_barrier(struct op *op)
{
    (void)op;
    bar.broken = true;
    bar.arrived = 0;
    serve_all(&bar.barrier, 0, -EPIPE);
}

static void abort_barrier(void)
{
    settle();
    break_barrier(NULL);
    co_barrier_abort(&bar.barrier);
}

static void arrive(struct op *op)
{
    int place = (int)bar.arrived++;
    op->result = place;
    if (bar.arrived == bar.parties) {
        bar.arrived = 0;
        for (struct op *other; (other = first(&bar.barrier, 0));)
            serve(other, other->wants, other->wants->value);
    } else {
        want(op, &bar.barrier, 0, place);
        op->waits = true;
        op->left = break_barrier;
    }
}

static void wait_barrier(co_test_random_t *random)
{
    struct op op;
    begin(&op, random);
    if (!refused(&op)) {
        if (!bar.parties)
            op.result = -EINVAL;
        else if (bar.broken)
            op.result = -EPIPE;
        else
            arrive(&op);
    }
    end(&op, co_barrier_wait(&bar.barrier));
}

static void init_barrier(co_test_random_t *random)
{
    settle();
    if (first(&bar.barrier, 0))
        return;
    bar.parties = co_test_below(random, 5);
    bar.arrived = 0;
    bar.broken = false;
    co_barrier_init(&bar.barrier, bar.parties);
}

static void step_barrier(void *arg, co_test_random_t *random)
{
    (void)arg;
    if (by_chance(random, 3)) /* or it would be broken most of the time */
        disturb(random);
    if (by_chance(random, bar.broken || !bar.parties ? 2 : 40))
        init_barrier(random);
    else if (by_chance(random, 40))
        abort_barrier();
    else
        wait_barrier(random);
}

static const char *check_barrier(void *arg)
{
    (void)arg;
    HOLDS(bar.arrived == 0 || bar.broken);
    return verdict();
}

/* --- Read-write lock: readers, or a writer, and one line -------------------------------------- */

enum { READER, WRITER };
static struct {
    co_rwlock_t lock;
    size_t readers;
    bool written;
} rw;

static int begin_rwlock(void *arg)
{
    memset(&rw, 0, sizeof rw);
    (void)arg;
    reset();
    return 0;
}

static bool can_enter(int kind)
{
    return !rw.written && (kind == READER || !rw.readers);
}

static void enter(int kind)
{
    if (kind == READER)
        rw.readers++;
    else
        rw.written = true;
}

static void let_in(struct op *left)
{
    (void)left;
    for (struct op *op; (op = first(&rw.lock, -1)) && can_enter(op->wants->kind);) {
        enter(op->wants->kind);
        serve(op, op->wants, 0);
    }
}

static bool lock_rw(co_test_random_t *random, int kind)
{
    struct op op;
    begin(&op, random);
    if (!refused(&op)) {
        if (!first(&rw.lock, -1) && can_enter(kind))
            enter(kind);
        else
            wait_for(&op, &rw.lock, kind);
        op.left = let_in;
    }
    return kind == READER ? end(&op, co_rwlock_rdlock(&rw.lock)) == 0
                          : end(&op, co_rwlock_wrlock(&rw.lock)) == 0;
}

static void unlock_rw(int kind)
{
    settle();
    if (kind == READER)
        rw.readers--;
    else
        rw.written = false;
    let_in(NULL);
    co_rwlock_unlock(&rw.lock);
}

/* The writer cannot have the lock once more; it is told so unless it is interrupted. */
static void lock_twice(co_test_random_t *random)
{
    struct op op;
    begin(&op, random);
    if (!refused(&op))
        op.result = -EDEADLK;
    if (by_chance(random, 2))
        end(&op, co_rwlock_wrlock(&rw.lock));
    else
        end(&op, co_rwlock_rdlock(&rw.lock));
}

static void step_rwlock(void *arg, co_test_random_t *random)
{
    (void)arg;
    disturb(random);
    int kind = by_chance(random, 3) ? WRITER : READER;
    if (!lock_rw(random, kind))
        return;
    if (kind == WRITER && by_chance(random, 4))
        lock_twice(random);
    rest(random);
    unlock_rw(kind);
}

static const char *check_rwlock(void *arg)
{
    (void)arg;
    HOLDS(!rw.readers && !rw.written);
    HOLDS(!rw.lock.readers && !rw.lock.writer);
    return verdict();
}

/* --- Mutex and condition: an owner, and two lines --------------------------------------------- */

static struct {
    co_mutex_t mutex;
    co_cond_t cond;
    const co_task_t *owner;
} m;

/* Woken from the condition, a task gets in line for the mutex when it runs. By the time anybody
 * else uses the mutex, it has parked there. */
static void notice_lockers(void)
{
    for (size_t i = 0; i < flight.count; i++) {
        struct op *op = flight.ops[i];
        if (!op->has_to_lock || !op->task->waits || op->turn != flight.returned + 1)
            continue;
        flight.returned = op->turn;
        op->has_to_lock = false;
        op->insistent = true;
        op->waits = true;
        op->wants[0] = (struct want){&m.mutex, 0, op->result};
        land(op);
        flight.ops[flight.count++] = op;
        notice_lockers();
        return;
    }
}

static int begin_mutex(void *arg)
{
    memset(&m, 0, sizeof m);
    (void)arg;
    reset();
    flight.settle = notice_lockers;
    return 0;
}

static bool lock(co_test_random_t *random)
{
    struct op op;
    begin(&op, random);
    if (!refused(&op)) {
        if (!m.owner)
            m.owner = co_self();
        else if (m.owner == co_self())
            op.result = -EDEADLK;
        else
            wait_for(&op, &m.mutex, 0);
    }
    return end(&op, co_mutex_lock(&m.mutex)) == 0;
}

static bool try_lock(void)
{
    settle();
    bool can = !m.owner;
    m.owner = can ? co_self() : m.owner;
    HOLDS(co_mutex_trylock(&m.mutex) == (can ? 0 : -EBUSY));
    return can;
}

static void hand_over(void)
{
    struct op *op = first(&m.mutex, 0);
    m.owner = op ? op->task : NULL;
    if (op)
        serve(op, op->wants, op->wants->value);
}

static void unlock(void)
{
    settle();
    HOLDS(m.owner == co_self());
    hand_over();
    co_mutex_unlock(&m.mutex);
}

static void has_to_lock(struct op *op)
{
    op->has_to_lock = true;
}

static void wait_cond(co_test_random_t *random)
{
    struct op op;
    begin(&op, random);
    if (!refused(&op)) {
        if (m.owner == co_self()) {
            hand_over();
            wait_for(&op, &m.cond, 0);
            op.left = has_to_lock;
        } else {
            op.result = -EPERM;
        }
    }
    bool owned = m.owner == co_self() || op.waits;
    int rc = co_cond_wait(&m.cond, &m.mutex);
    settle();
    if (op.has_to_lock) { /* it could, at once */
        HOLDS(!m.owner);
        m.owner = co_self();
    }
    end_call(&op, "co_cond_wait", rc);
    HOLDS(owned == (m.owner == co_self()));
}

static void signal_cond(void *arg)
{
    settle();
    struct op *op = first(&m.cond, 0);
    if (op) {
        wake(op, 0);
        has_to_lock(op);
    }
    (void)arg;
    co_cond_signal(&m.cond);
}

static void broadcast(void)
{
    settle();
    for (struct op *op; (op = first(&m.cond, 0));) {
        wake(op, 0);
        has_to_lock(op);
    }
    co_cond_broadcast(&m.cond);
}

static void do_something(co_test_random_t *random)
{
    switch (co_test_below(random, 8)) {
    case 0:
        broadcast();
        break;
    case 1:
        signal_cond(NULL);
        break;
    case 2:
        loop_call_soon(loop_current(), signal_cond, NULL, NULL);
        break;
    case 3:
        rest(random);
        break;
    case 4:
        HOLDS(!try_lock() || !"the mutex was owned");
        break;
    default:
        wait_cond(random);
    }
}

static void step_mutex(void *arg, co_test_random_t *random)
{
    (void)arg;
    disturb(random);
    if (by_chance(random, 8)) {
        signal_cond(NULL);
        wait_cond(random); /* without the mutex */
    } else if (by_chance(random, 4) ? try_lock() : lock(random)) {
        for (size_t n = co_test_below(random, 3); n > 0; n--)
            do_something(random);
        if (by_chance(random, 8))
            HOLDS(!lock(random) || !"the mutex was owned");
        unlock();
    }
}

static const char *check_mutex(void *arg)
{
    (void)arg;
    HOLDS(!m.owner && !m.mutex.owner);
    return verdict();
}

/* ---------------------------------------------------------------------------------------------- */

MODEL(sem, 1000)
MODEL(event, 1000)
MODEL(barrier, 1000)
MODEL(rwlock, 1000)
MODEL(mutex, 1000)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAYED(sem), PLAYED(event), PLAYED(barrier), PLAYED(rwlock), PLAYED(mutex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
