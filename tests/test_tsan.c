/* ThreadSanitizer and coroutines: what is synchronised passes, and a race is found on whatever
 * stack it happens. Only in a build with that sanitizer. Any report elsewhere in the tests makes
 * their process fail; here the racing program is a child, whose words are read. */
#include "test_forked.h"

#include <pthread.h>
#include <stdatomic.h>

/* --- Races, planted --------------------------------------------------------------------------- */

static int plain; /* written without any synchronisation */

static __attribute__((noinline)) void bump_plainly(void)
{
    plain++;
}

static _Atomic int arrived; /* in both loops, from where on nothing synchronises them */

static int bump_deep(int depth)
{
    int rc = co_yield_now();
    if (rc < 0)
        return rc;
    if (depth)
        return bump_deep(depth - 1);
    bump_plainly();
    return 0;
}

static int bump_in_task(void *arg)
{
    (void)arg;
    atomic_fetch_add_explicit(&arrived, 1, memory_order_relaxed);
    while (atomic_load_explicit(&arrived, memory_order_relaxed) < 2)
        co_yield_now();
    return bump_deep(5);
}

static void *run_a_loop(void *arg)
{
    (void)arg;
    co_run(bump_in_task, NULL);
    return NULL;
}

/* Tasks of two loops. */
static void race_of_loops(void)
{
    pthread_t other;
    pthread_create(&other, NULL, run_a_loop, NULL);
    run_a_loop(NULL);
    pthread_join(other, NULL);
}

struct post {
    loop_t *loop;
    int value;
    bool too_late; /* the planted bug: written once it has been handed over */
    int seen;
};

static void take_value(void *arg)
{
    struct post *post = arg;
    post->seen = post->value;
    loop_release(post->loop);
}

static void *post_from_thread(void *arg)
{
    struct post *post = arg;
    post->value = 41;
    loop_call_soon_threadsafe(post->loop, take_value, post);
    if (post->too_late)
        post->value = 42;
    return NULL;
}

static int post_and_take(struct post *post)
{
    pthread_t thread;
    post->loop = loop_new(NULL);
    loop_hold(post->loop);
    pthread_create(&thread, NULL, post_from_thread, post);
    loop_run(post->loop);
    pthread_join(thread, NULL);
    loop_close(post->loop);
    return post->seen;
}

static int do_nothing(void *arg)
{
    (void)arg;
    return 0;
}

static void make_stacks(void)
{
    loop_t *loop = loop_new(NULL);
    for (int i = 0; i < 10; i++)
        co_task_release(loop_spawn(loop, do_nothing, NULL));
    loop_run(loop);
    loop_close(loop);
}

/* A thread goes on with what it gave to a loop; after stacks were made. */
static void race_after_a_post(void)
{
    make_stacks();
    for (int i = 0; i < 30; i++) { /* the sanitizer may forget one access, not all of them */
        struct post post = {.too_late = true};
        post_and_take(&post);
    }
}

/* --- Finding them ----------------------------------------------------------------------------- */

enum { FOUND = 66 }; /* the sanitizer's exit code */

static void run_race(void *race)
{
    setenv("TSAN_OPTIONS", "exitcode=66", 1);
    execl("/proc/self/exe", "test_tsan", (const char *)race, (char *)NULL);
    _exit(127);
}

/* This program again, with the name of a race; what it says on stderr. */
static int run_again(const char *race, char *said, size_t size)
{
    int status = run_forked(run_race, (void *)race, said, size);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static char said[1 << 16];

static void skip_without_tsan(void)
{
    if (!under_tsan())
        skip();
}

static void a_race_between_tasks_of_two_loops_is_found(void **state)
{
    (void)state;
    skip_without_tsan();
    assert_int_equal(run_again("loops", said, sizeof said), FOUND);
    assert_non_null(strstr(said, "data race"));
    assert_non_null(strstr(said, "bump_plainly")); /* by name, from the task's own stack */
    assert_non_null(strstr(said, "bump_in_task"));
}

static void a_race_after_a_threadsafe_call_is_found(void **state)
{
    (void)state;
    skip_without_tsan();
    assert_int_equal(run_again("post", said, sizeof said), FOUND);
    assert_non_null(strstr(said, "data race"));
    assert_non_null(strstr(said, "post_from_thread"));
    assert_non_null(strstr(said, "take_value"));
    assert_null(strstr(said, "co_spawn_here")); /* no stack has left its traces on another */
}

/* --- What is none ----------------------------------------------------------------------------- */

static void a_threadsafe_call_hands_over(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct post post = {0};
        assert_int_equal(post_and_take(&post), 41);
    }
}

/* Tasks of one loop share plain variables; deeper stacks than the sanitizer would follow without
 * knowing that each task has its own. */
static int dive(int depth, int *shared)
{
    ++*shared;
    CHECK_INT(co_yield_now(), 0);
    return depth ? dive(depth - 1, shared) + 1 : 0;
}

static int diver(void *shared)
{
    for (int i = 0; i < 200; i++)
        CHECK_INT(dive(30, shared), 30);
    return 0;
}

static int many_divers(void *shared)
{
    co_task_t *tasks[20];
    for (int i = 0; i < 20; i++)
        tasks[i] = co_spawn(diver, shared);
    return co_gather_tasks(tasks, 20);
}

static void *dive_in_thread(void *result)
{
    int shared = 0, rc = co_run(many_divers, &shared);
    *(int *)result = rc < 0 ? rc : shared;
    return NULL;
}

static void tasks_of_one_loop_share_what_they_like(void **state)
{
    (void)state;
    pthread_t threads[2];
    int results[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, dive_in_thread, &results[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++)
        assert_int_equal(results[i], 20 * 200 * 31);
}

/* Loops of several threads call each other: a value goes round, and everybody writes to it. */
enum { THREADS = 4, ROUNDS = 200 };

struct ring {
    loop_t *loops[THREADS];
    int at, passed; /* whoever holds the turn */
};

static void take_turn(void *arg)
{
    struct ring *ring = arg;
    int self = ring->at, passed = ++ring->passed;
    ring->at = (self + 1) % THREADS;
    if (passed < ROUNDS)
        loop_call_soon_threadsafe(ring->loops[(self + 1) % THREADS], take_turn, ring);
    if (passed > ROUNDS - THREADS)
        loop_release(ring->loops[self]);
}

static void *run_loop(void *loop)
{
    loop_run(loop);
    return NULL;
}

static void a_turn_goes_round_loops_of_several_threads(void **state)
{
    (void)state;
    struct ring ring = {0};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_non_null(ring.loops[i] = loop_new(NULL));
        loop_hold(ring.loops[i]);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_loop, ring.loops[i]), 0);
    loop_call_soon_threadsafe(ring.loops[0], take_turn, &ring);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(loop_close(ring.loops[i]), 0);
    assert_int_equal(ring.passed, ROUNDS);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        if (strcmp(argv[1], "loops") == 0)
            race_of_loops();
        else
            race_after_a_post();
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_race_between_tasks_of_two_loops_is_found),
        cmocka_unit_test(a_race_after_a_threadsafe_call_is_found),
        cmocka_unit_test(a_threadsafe_call_hands_over),
        cmocka_unit_test(tasks_of_one_loop_share_what_they_like),
        cmocka_unit_test(a_turn_goes_round_loops_of_several_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
