/* Locks in a loop that is closed by force: tasks go on without the lock that they waited for, and
 * their clean-up unlocks it all the same. Nothing of that is a caller's bug. Each case runs in a
 * child process, as it may abort. */
#include "test_forked.h"

struct place {
    co_mutex_t mutex;
    co_cond_t cond;
    co_rwlock_t rwlock;
    co_barrier_t barrier; /* for more than ever come */
};

static void unlock(void *mutex)
{
    co_mutex_unlock(mutex);
}

static void unlock_rwlock(void *lock)
{
    co_rwlock_unlock(lock);
}

/* --- Those that hold a lock for ever ---------------------------------------------------------- */

static int hold(void *arg)
{
    struct place *place = arg;
    CHECK_INT(co_mutex_lock(&place->mutex), 0);
    co_defer(unlock, &place->mutex);
    co_shield() co_sleep(-1);
    return 0;
}

static int hold_as_writer(void *arg)
{
    struct place *place = arg;
    CHECK_INT(co_rwlock_wrlock(&place->rwlock), 0);
    co_defer(unlock_rwlock, &place->rwlock);
    co_shield() co_sleep(-1);
    return 0;
}

static int hold_as_reader(void *arg)
{
    struct place *place = arg;
    CHECK_INT(co_rwlock_rdlock(&place->rwlock), 0);
    co_defer(unlock_rwlock, &place->rwlock);
    co_shield() co_sleep(-1);
    return 0;
}

/* --- Those that wait for it ------------------------------------------------------------------- */

static int wait_with_defer(void *arg)
{
    struct place *place = arg;
    CHECK_INT(co_mutex_lock(&place->mutex), 0);
    co_defer(unlock, &place->mutex);
    return co_cond_wait(&place->cond, &place->mutex);
}

static int wait_shielded(void *arg)
{
    struct place *place = arg;
    CHECK_INT(co_mutex_lock(&place->mutex), 0);
    co_shield() co_cond_wait(&place->cond, &place->mutex);
    co_mutex_unlock(&place->mutex);
    return 0;
}

/* A shielded lock cannot fail but here, so its result is of no interest. */
static int lock_shielded(void *arg)
{
    struct place *place = arg;
    co_shield()
    {
        co_mutex_lock(&place->mutex);
        co_mutex_unlock(&place->mutex);
    }
    return 0;
}

static void lock_and_unlock(void *arg)
{
    lock_shielded(arg);
}

static int lock_in_clean_up(void *arg)
{
    co_defer(lock_and_unlock, arg);
    return co_sleep(-1);
}

static int read_shielded(void *arg)
{
    struct place *place = arg;
    co_shield()
    {
        co_rwlock_rdlock(&place->rwlock);
        co_rwlock_unlock(&place->rwlock);
    }
    return 0;
}

static int write_shielded(void *arg)
{
    struct place *place = arg;
    co_shield()
    {
        co_rwlock_wrlock(&place->rwlock);
        co_rwlock_unlock(&place->rwlock);
    }
    return 0;
}

static int meet_shielded(void *arg)
{
    struct place *place = arg;
    co_shield()
    {
        co_barrier_wait(&place->barrier);
        co_sleep(-1); /* the barrier is broken, but that does not end it */
    }
    return 0;
}

static int have_a_child_that_meets(void *arg)
{
    co_group(g, NULL)
    {
        co_group_spawn(g, meet_shielded, arg);
    }
    return 0;
}

/* --- Closing ---------------------------------------------------------------------------------- */

struct scene {
    co_fn *first, *second, *third; /* the third may be NULL */
};

static void close_by_force(void *arg)
{
    const struct scene *scene = arg;
    co_fn *const fns[] = {scene->first, scene->second, scene->third};
    struct place place = {.barrier = {.parties = 5}};
    loop_t *loop = open_loop();
    for (int i = 0; i < 3 && fns[i]; i++) {
        co_task_release(loop_spawn(loop, fns[i], &place));
        loop_run_once(loop, 0);
    }
    int cancelled = loop_close(loop);
    _exit(cancelled < (scene->third ? 3 : 2) ? 1 : blocks() ? 2 : reports() ? 0 : 3);
}

static void expect_end_of(co_fn *first, co_fn *second, co_fn *third)
{
    struct scene scene = {first, second, third};
    expect_end(close_by_force, &scene);
}

static void who_waits_for_a_condition_unlocks_in_its_clean_up(void **state)
{
    (void)state;
    expect_end_of(wait_with_defer, hold, NULL);
    expect_end_of(wait_with_defer, wait_with_defer, hold);
    expect_end_of(wait_shielded, hold, NULL);
    expect_end_of(wait_shielded, wait_with_defer, hold);
}

static void who_locks_shielded_unlocks(void **state)
{
    (void)state;
    expect_end_of(hold, lock_shielded, NULL);
    expect_end_of(hold, lock_in_clean_up, NULL);
    expect_end_of(hold, lock_shielded, lock_in_clean_up);
}

static void a_read_write_lock_is_no_different(void **state)
{
    (void)state;
    expect_end_of(hold_as_writer, read_shielded, write_shielded);
    expect_end_of(hold_as_reader, write_shielded, read_shielded);
}

/* The first one, ended by force, breaks the barrier: the child of the second is woken before it is
 * its turn to be ended by force. */
static void who_is_woken_by_one_that_is_ended_by_force_is_ended_too(void **state)
{
    (void)state;
    expect_end_of(meet_shielded, have_a_child_that_meets, NULL);
    expect_end_of(have_a_child_that_meets, meet_shielded, meet_shielded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_waits_for_a_condition_unlocks_in_its_clean_up),
        cmocka_unit_test(who_locks_shielded_unlocks),
        cmocka_unit_test(a_read_write_lock_is_no_different),
        cmocka_unit_test(who_is_woken_by_one_that_is_ended_by_force_is_ended_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
