/* A bounded buffer of one mutex and two conditions, whose users are cancelled and run out of time
 * by chance: every item that was put in is taken out once, and whoever returns from a wait holds
 * the mutex. */
#include "support.h"

enum { ROOM = 3, USERS = 6, ITEMS = 400 };

struct buffer {
    co_mutex_t mutex;
    co_cond_t not_full, not_empty;
    int items[ROOM], count;
    int next, taken, put, giving_up;
    bool seen[USERS * ITEMS];
    co_test_random_t random;
};

static struct buffer buffer;

/* Waits for a random time at most. */
static int wait_a_while(co_cond_t *cond)
{
    int rc = 1;
    co_timeout((int64_t)co_test_below(&buffer.random, 4)) rc = co_cond_wait(cond, &buffer.mutex);
    CHECK(buffer.mutex.owner == co_self());
    buffer.giving_up += rc < 0;
    CHECK(buffer.giving_up < 1000000); /* or it never ends */
    return rc;
}

static void put(int item)
{
    CHECK_INT(co_mutex_lock(&buffer.mutex), 0);
    while (buffer.count == ROOM)
        wait_a_while(&buffer.not_full);
    CHECK(buffer.count < ROOM);
    buffer.items[buffer.count++] = item;
    buffer.put++;
    co_cond_signal(&buffer.not_empty);
    co_mutex_unlock(&buffer.mutex);
}

static int produce(void *arg)
{
    (void)arg;
    for (int i = 0; i < ITEMS; i++) {
        put(buffer.next++);
        if (co_test_below(&buffer.random, 3) == 0)
            CHECK_INT(co_sleep((int64_t)co_test_below(&buffer.random, 3)), 0);
    }
    return 0;
}

static void unlock(void *mutex)
{
    co_mutex_unlock(mutex);
}

static int take(void)
{
    int rc = co_mutex_lock(&buffer.mutex);
    if (rc < 0)
        return rc;
    co_defer(unlock, &buffer.mutex);
    while (buffer.count == 0)
        if (wait_a_while(&buffer.not_empty) == -ECANCELED)
            return -ECANCELED;
    CHECK(buffer.count > 0);
    int item = buffer.items[--buffer.count];
    CHECK(!buffer.seen[item]);
    buffer.seen[item] = true;
    buffer.taken++;
    co_cond_signal(&buffer.not_full);
    return 0;
}

static int consume(void *arg)
{
    (void)arg;
    for (;;) {
        int rc = take();
        if (rc < 0)
            return rc;
        if (co_test_below(&buffer.random, 3) == 0 && (rc = co_yield_now()) < 0)
            return rc;
    }
}

/* Consumers are cancelled all the time, and others take their places. */
static int replace_consumers(void *arg)
{
    co_task_t *consumers[USERS];
    (void)arg;
    for (int i = 0; i < USERS; i++)
        consumers[i] = co_spawn(consume, NULL);
    while (buffer.taken < USERS * ITEMS) {
        size_t i = co_test_below(&buffer.random, USERS);
        co_task_cancel(consumers[i]);
        CHECK_INT(co_await_task(consumers[i]), -ECANCELED);
        consumers[i] = co_spawn(consume, NULL);
        CHECK_INT(co_sleep(1), 0);
    }
    for (int i = 0; i < USERS; i++)
        co_task_cancel(consumers[i]);
    CHECK_INT(co_gather_all(consumers, USERS, NULL), USERS);
    return 0;
}

static int run_buffer(void *arg)
{
    co_task_t *producers[USERS];
    buffer = (struct buffer){.random = {(uint64_t)(uintptr_t)arg}};
    for (int i = 0; i < USERS; i++)
        producers[i] = co_spawn(produce, NULL);
    CHECK_INT(co_await_task(co_spawn(replace_consumers, NULL)), 0);
    CHECK_INT(co_gather_tasks(producers, USERS), 0);
    CHECK_INT(buffer.put, USERS * ITEMS);
    CHECK_INT(buffer.count, 0);
    CHECK(buffer.giving_up > USERS); /* or there was no test */
    return co_mutex_trylock(&buffer.mutex);
}

static void a_bounded_buffer_loses_and_doubles_nothing(void **state)
{
    (void)state;
    for (uintptr_t seed = 1; seed <= 5; seed++)
        assert_int_equal(run_task(run_buffer, (void *)seed), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bounded_buffer_loses_and_doubles_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
