/* The read-write lock: many readers or one writer, in the order of arrival. */
#include "support.h"

struct user {
    co_rwlock_t *lock;
    const char *name; /* "r..." reads, "w..." writes */
    int result;
};

static int use(void *arg)
{
    struct user *user = arg;
    user->result =
        user->name[0] == 'r' ? co_rwlock_rdlock(user->lock) : co_rwlock_wrlock(user->lock);
    trace("%s%s", user->name, user->result < 0 ? "-" : "+");
    if (user->result < 0)
        return 0;
    co_shield() co_sleep(5);
    trace("%s.", user->name);
    co_rwlock_unlock(user->lock);
    return 0;
}

static co_task_t *start(struct user *user)
{
    co_task_t *task = co_spawn(use, user);
    CHECK(task != NULL);
    CHECK_INT(co_yield_now(), 0);
    return task;
}

static int in_order(void *arg)
{
    co_rwlock_t lock = {0};
    struct user users[] = {
        {&lock, "r1", 1}, {&lock, "r2", 1}, {&lock, "w1", 1}, {&lock, "r3", 1}, {&lock, "w2", 1}};
    co_task_t *tasks[5];
    (void)arg;
    for (int i = 0; i < 5; i++)
        tasks[i] = start(&users[i]);
    CHECK_INT(co_gather_tasks(tasks, 5), 0);
    return co_rwlock_wrlock(&lock);
}

static void readers_behind_a_waiting_writer_wait(void **state)
{
    (void)state;
    assert_int_equal(run_task(in_order, NULL), 0);
    assert_string_equal(traced(), "r1+ r2+ r1. r2. w1+ w1. r3+ r3. w2+ w2.");
}

static int cancel_writer(void *arg)
{
    co_rwlock_t lock = {0};
    struct user users[] = {{&lock, "r1", 1}, {&lock, "w", 1}, {&lock, "r2", 1}, {&lock, "r3", 1}};
    co_task_t *tasks[4];
    (void)arg;
    for (int i = 0; i < 4; i++)
        tasks[i] = start(&users[i]);
    co_task_cancel(tasks[1]);
    CHECK_INT(co_sleep(1), 0);
    CHECK_INT(users[2].result + users[3].result, 0); /* they share with r1 now */
    CHECK_INT(co_gather_tasks(tasks, 4), 0);
    CHECK_INT(users[1].result, -ECANCELED);
    return co_rwlock_wrlock(&lock);
}

static void a_cancelled_writer_lets_the_readers_behind_it_in(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_writer, NULL), 0);
}

static int cancel_chosen(void *arg)
{
    co_rwlock_t lock = {0};
    struct user w = {&lock, "w", 1}, r = {&lock, "r", 1};
    (void)arg;
    CHECK_INT(co_rwlock_wrlock(&lock), 0);
    co_task_t *tasks[] = {start(&w), start(&r)};
    co_rwlock_unlock(&lock);
    co_task_cancel(tasks[0]);
    CHECK_INT(co_gather_tasks(tasks, 2), 0);
    return w.result;
}

static void cancelled_after_it_was_chosen_a_writer_has_the_lock(void **state)
{
    (void)state;
    assert_int_equal(run_task(cancel_chosen, NULL), 0);
    assert_string_equal(traced(), "w+ w. r+ r.");
}

static int lock_again(void *arg)
{
    co_rwlock_t lock = {0};
    int rc = 1;
    (void)arg;
    CHECK_INT(co_rwlock_wrlock(&lock), 0);
    CHECK_INT(co_rwlock_wrlock(&lock), -EDEADLK);
    CHECK_INT(co_rwlock_rdlock(&lock), -EDEADLK);
    co_rwlock_unlock(&lock);
    CHECK_INT(co_rwlock_rdlock(&lock), 0);
    CHECK_INT(co_rwlock_rdlock(&lock), 0);
    co_rwlock_unlock(&lock);
    co_timeout(5) rc = co_rwlock_wrlock(&lock); /* one reader is left */
    CHECK_INT(rc, -ETIMEDOUT);
    co_rwlock_unlock(&lock);
    return co_rwlock_wrlock(&lock);
}

static void the_writer_may_not_lock_again(void **state)
{
    (void)state;
    assert_int_equal(run_task(lock_again, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_behind_a_waiting_writer_wait),
        cmocka_unit_test(a_cancelled_writer_lets_the_readers_behind_it_in),
        cmocka_unit_test(cancelled_after_it_was_chosen_a_writer_has_the_lock),
        cmocka_unit_test(the_writer_may_not_lock_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
