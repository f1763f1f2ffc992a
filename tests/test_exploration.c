/* Locks of every kind through the search: whatever waiter is cancelled wherever, and whatever
 * allocation fails, nobody hangs, and no lock or permit is lost or given twice. */
#include "test_exploration.h"

/* --- Mutex ------------------------------------------------------------------------------------ */

static struct {
    co_mutex_t mutex;
    co_task_t *inside;
    int turns;
} m;

static int setup_mutex(void *arg)
{
    (void)arg;
    memset(&m, 0, sizeof m);
    wrong = NULL;
    return 0;
}

static int use_mutex(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++) {
        int rc = co_mutex_lock(&m.mutex);
        if (rc < 0)
            return rc;
        HOLDS(!m.inside);
        m.inside = co_self();
        rc = co_sleep(i);
        HOLDS(m.inside == co_self());
        m.inside = NULL;
        m.turns++;
        co_mutex_unlock(&m.mutex);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int run_mutex(void *arg)
{
    (void)arg;
    return start_and_gather(use_mutex, NULL, 4);
}

static const char *check_mutex(void *arg)
{
    (void)arg;
    HOLDS(!m.mutex.owner && m.turns <= 8);
    return wrong;
}

static const co_test_scenario_t mutex = {
    .name = "mutex", .setup = setup_mutex, .run = run_mutex, .check = check_mutex};
SEARCH(mutex)

/* A lock with a deadline, and a lock after it: the hand-over and the deadline fall together. */
static int try_mutex(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        int rc = -ENOMEM;
        co_timeout(2) rc = co_mutex_lock(&m.mutex);
        if (rc < 0)
            continue;
        HOLDS(!m.inside);
        m.inside = co_self();
        co_sleep(1);
        m.inside = NULL;
        co_mutex_unlock(&m.mutex);
    }
    return 0;
}

static int run_impatient(void *arg)
{
    (void)arg;
    return start_and_gather(try_mutex, NULL, 5);
}

static const co_test_scenario_t impatient = {
    .name = "impatient", .setup = setup_mutex, .run = run_impatient, .check = check_mutex};
SEARCH(impatient)

/* --- Condition -------------------------------------------------------------------------------- */

static struct {
    co_mutex_t mutex;
    co_cond_t filled;
    int items, put, taken, left;
} c;

static int setup_cond(void *arg)
{
    (void)arg;
    memset(&c, 0, sizeof c);
    wrong = NULL;
    return 0;
}

static int take_with_cond(void *arg)
{
    (void)arg;
    int rc = co_mutex_lock(&c.mutex);
    if (rc < 0)
        return rc;
    co_timeout(5) while (c.items == 0 && rc == 0)
    {
        rc = co_cond_wait(&c.filled, &c.mutex);
        HOLDS(c.mutex.owner == co_self());
    }
    if (c.items) { /* also after an interruption: the signal must not be lost */
        c.items--;
        c.taken++;
    }
    co_mutex_unlock(&c.mutex);
    return rc;
}

static int put_with_cond(void *arg)
{
    (void)arg;
    int rc = co_mutex_lock(&c.mutex);
    if (rc < 0)
        return rc;
    c.items++;
    c.put++;
    co_cond_signal(&c.filled);
    rc = co_yield_now();
    co_mutex_unlock(&c.mutex);
    return rc;
}

static int broadcast_with_cond(void *arg)
{
    (void)arg;
    int rc = co_sleep(1);
    c.items++;
    c.put++;
    co_cond_broadcast(&c.filled);
    return rc;
}

static int run_cond(void *arg)
{
    (void)arg;
    co_task_t *tasks[] = {co_spawn(take_with_cond, NULL),      co_spawn(take_with_cond, NULL),
                          co_spawn(take_with_cond, NULL),      co_spawn(put_with_cond, NULL),
                          co_spawn(broadcast_with_cond, NULL), co_spawn(put_with_cond, NULL)};
    int rc = co_gather_all(tasks, 6, NULL);
    return rc < 0 ? rc : 0;
}

static const char *check_cond(void *arg)
{
    (void)arg;
    HOLDS(!c.mutex.owner && c.items == c.put - c.taken);
    return wrong;
}

static const co_test_scenario_t cond = {
    .name = "cond", .setup = setup_cond, .run = run_cond, .check = check_cond};
SEARCH(cond)

/* --- Event ------------------------------------------------------------------------------------ */

static struct {
    co_event_t event;
    int woken, interrupted;
} e;

static int setup_event(void *arg)
{
    (void)arg;
    memset(&e, 0, sizeof e);
    wrong = NULL;
    return 0;
}

static int wait_event(void *arg)
{
    (void)arg;
    int rc = -ENOMEM;
    co_timeout(10) rc = co_event_wait(&e.event);
    *(rc == 0 ? &e.woken : &e.interrupted) += 1;
    HOLDS(rc == 0 || rc == -ENOMEM || rc == -ECANCELED || rc == -ETIMEDOUT);
    return rc;
}

static int set_event(void *arg)
{
    (void)arg;
    co_sleep(1);
    co_event_set(&e.event);
    co_event_clear(&e.event);
    return 0;
}

static int run_event(void *arg)
{
    (void)arg;
    co_task_t *tasks[] = {co_spawn(wait_event, NULL), co_spawn(wait_event, NULL),
                          co_spawn(wait_event, NULL), co_spawn(set_event, NULL)};
    int rc = co_gather_all(tasks, 4, NULL);
    return rc < 0 ? rc : 0;
}

static const char *check_event(void *arg)
{
    (void)arg;
    HOLDS(e.woken + e.interrupted <= 3 && !co_event_is_set(&e.event));
    return wrong;
}

static const co_test_scenario_t event = {
    .name = "event", .setup = setup_event, .run = run_event, .check = check_event};
SEARCH(event)

/* --- Semaphore -------------------------------------------------------------------------------- */

static struct {
    co_sem_t sem;
    size_t held;
} s;

static int setup_sem(void *arg)
{
    (void)arg;
    co_sem_init(&s.sem, 2);
    s.held = 0;
    wrong = NULL;
    return 0;
}

static int use_sem(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++) {
        int rc = -ENOMEM;
        co_timeout(3) rc = co_sem_acquire(&s.sem);
        if (rc == -ECANCELED)
            return rc;
        if (rc < 0)
            continue;
        HOLDS(++s.held <= 2);
        rc = co_sleep(1);
        s.held--;
        co_sem_release(&s.sem);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int run_sem(void *arg)
{
    (void)arg;
    return start_and_gather(use_sem, NULL, 5);
}

static const char *check_sem(void *arg)
{
    (void)arg;
    HOLDS(s.held == 0 && s.sem.permits == 2);
    return wrong;
}

static const co_test_scenario_t sem = {
    .name = "sem", .setup = setup_sem, .run = run_sem, .check = check_sem};
SEARCH(sem)

/* --- Barrier ---------------------------------------------------------------------------------- */

static struct {
    co_barrier_t barrier;
    int passed[2], broken;
} b;

static int setup_barrier(void *arg)
{
    (void)arg;
    memset(&b, 0, sizeof b);
    co_barrier_init(&b.barrier, 3);
    wrong = NULL;
    return 0;
}

/* A party that has to leave breaks the barrier for the others, whatever else it does. */
static int meet(void *arg)
{
    (void)arg;
    int rc = co_sleep(1);
    for (int round = 0; round < 2 && rc >= 0; round++) {
        rc = co_barrier_wait(&b.barrier);
        HOLDS(rc < 3);
        if (rc >= 0)
            b.passed[round] |= 1 << rc;
        b.broken += rc == -EPIPE;
    }
    if (rc < 0)
        co_barrier_abort(&b.barrier);
    return rc < 0 ? rc : 0;
}

static int run_barrier(void *arg)
{
    (void)arg;
    co_task_t *tasks[3];
    for (int i = 0; i < 3; i++)
        if (!(tasks[i] = co_spawn(meet, NULL)))
            co_barrier_abort(&b.barrier);
    int rc = co_gather_all(tasks, 3, NULL);
    return rc < 0 ? rc : 0;
}

/* Whoever passed a round has passed it with all the others, or their calls found it broken. */
static const char *check_barrier(void *arg)
{
    (void)arg;
    HOLDS(b.barrier.broken || (b.passed[0] == 7 && b.passed[1] == 7));
    HOLDS(b.broken == 0 || b.barrier.broken);
    HOLDS(b.passed[1] == 0 || b.passed[0] == 7);
    return wrong;
}

static const co_test_scenario_t barrier = {
    .name = "barrier", .setup = setup_barrier, .run = run_barrier, .check = check_barrier};
SEARCH(barrier)

/* --- Read-write lock -------------------------------------------------------------------------- */

static struct {
    co_rwlock_t lock;
    int readers, writers;
} l;

static int setup_rwlock(void *arg)
{
    (void)arg;
    memset(&l, 0, sizeof l);
    wrong = NULL;
    return 0;
}

static int read_locked(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++) {
        int rc = -ENOMEM;
        co_timeout(4) rc = co_rwlock_rdlock(&l.lock);
        if (rc < 0)
            continue;
        l.readers++;
        HOLDS(l.writers == 0);
        co_sleep(1);
        l.readers--;
        co_rwlock_unlock(&l.lock);
    }
    return 0;
}

static int write_locked(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++) {
        int rc = -ENOMEM;
        co_timeout(2) rc = co_rwlock_wrlock(&l.lock);
        if (rc < 0)
            continue;
        HOLDS(++l.writers == 1 && l.readers == 0);
        co_sleep(1);
        l.writers--;
        co_rwlock_unlock(&l.lock);
    }
    return 0;
}

static int run_rwlock(void *arg)
{
    (void)arg;
    co_task_t *tasks[] = {co_spawn(read_locked, NULL), co_spawn(write_locked, NULL),
                          co_spawn(read_locked, NULL), co_spawn(write_locked, NULL),
                          co_spawn(read_locked, NULL), co_spawn(read_locked, NULL)};
    int rc = co_gather_all(tasks, 6, NULL);
    return rc < 0 ? rc : 0;
}

static const char *check_rwlock(void *arg)
{
    (void)arg;
    HOLDS(l.lock.readers == 0 && !l.lock.writer && l.readers == 0 && l.writers == 0);
    return wrong;
}

static const co_test_scenario_t rwlock = {
    .name = "rwlock", .setup = setup_rwlock, .run = run_rwlock, .check = check_rwlock};
SEARCH(rwlock)

/* Without deadlines: a writer that leaves the line must let in the readers behind it. */
static int read_once(void *arg)
{
    (void)arg;
    int rc = co_rwlock_rdlock(&l.lock);
    if (rc < 0)
        return rc;
    HOLDS(l.writers == 0);
    co_sleep(5);
    co_rwlock_unlock(&l.lock);
    return 0;
}

static int write_once(void *arg)
{
    (void)arg;
    int rc = co_rwlock_wrlock(&l.lock);
    if (rc < 0)
        return rc;
    l.writers++;
    co_sleep(5);
    l.writers--;
    co_rwlock_unlock(&l.lock);
    return 0;
}

static int run_patient(void *arg)
{
    (void)arg;
    co_task_t *tasks[] = {co_spawn(read_once, NULL), co_spawn(write_once, NULL),
                          co_spawn(read_once, NULL), co_spawn(write_once, NULL),
                          co_spawn(read_once, NULL)};
    int rc = co_gather_all(tasks, 5, NULL);
    return rc < 0 ? rc : 0;
}

static const co_test_scenario_t patient_rwlock = {
    .name = "patient_rwlock", .setup = setup_rwlock, .run = run_patient, .check = check_rwlock};
SEARCH(patient_rwlock)

/* --- Future ----------------------------------------------------------------------------------- */

static struct {
    co_future_t future;
    int value, got, called, added;
} f;

static int setup_future(void *arg)
{
    (void)arg;
    memset(&f, 0, sizeof f);
    wrong = NULL;
    return 0;
}

static void on_future(co_future_t *future, void *arg)
{
    (void)arg;
    HOLDS(co_future_done(future) && co_future_result(future) == 3);
    f.called++;
}

static int await_future(void *arg)
{
    (void)arg;
    void *value = NULL;
    f.added += co_future_add_done_callback(&f.future, on_future, NULL) == 0;
    int rc = co_await_future(&f.future, &value);
    HOLDS(rc == 3 ? value == &f.value : !value);
    f.got += rc == 3;
    return rc;
}

static int resolve_future(void *arg)
{
    (void)arg;
    co_sleep(1);
    HOLDS(co_future_resolve(&f.future, 3, &f.value) == 0);
    HOLDS(co_future_resolve(&f.future, 4, NULL) == -EALREADY);
    return 0;
}

static int run_future(void *arg)
{
    (void)arg;
    co_task_t *tasks[] = {co_spawn(await_future, NULL), co_spawn(await_future, NULL),
                          co_spawn(resolve_future, NULL)};
    if (!tasks[2])
        co_future_resolve(&f.future, 3, &f.value);
    int rc = co_gather_all(tasks, 3, NULL);
    return rc < 0 ? rc : 0;
}

static const char *check_future(void *arg)
{
    (void)arg;
    HOLDS(co_future_done(&f.future) && f.called == f.added && f.got <= 2);
    return wrong;
}

static const co_test_scenario_t future = {
    .name = "future", .setup = setup_future, .run = run_future, .check = check_future};
SEARCH(future)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SEARCHED(mutex),  SEARCHED(impatient), SEARCHED(cond),   SEARCHED(event),
        SEARCHED(sem),    SEARCHED(barrier),   SEARCHED(rwlock), SEARCHED(patient_rwlock),
        SEARCHED(future),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
