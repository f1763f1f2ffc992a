/* Other threads: what they post, and how they wake and stop loops. Only the main thread asserts. */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 8, POSTS = 2000, PINGS = 50, STOPS = 30, CLOSINGS = 100 };

static loop_t *loop;

static struct poster {
    pthread_t thread;
    loop_t *to;
    int posts, failed;
    int arrived, out_of_order; /* loop's thread only */
    bool releases;
    struct letter {
        struct poster *from;
        int number;
    } letters[POSTS];
} posters[THREADS];

static void arrive(void *arg)
{
    const struct letter *letter = arg;
    letter->from->out_of_order += letter->number != letter->from->arrived++;
}

static void release(void *to)
{
    loop_release(to);
}

static int post_letter(struct poster *poster, int number)
{
    poster->letters[number] = (struct letter){poster, number};
    return loop_call_soon_threadsafe(poster->to, arrive, &poster->letters[number]);
}

static void *post_all(void *arg)
{
    struct poster *self = arg;
    for (int i = 0; i < self->posts; i++)
        self->failed += post_letter(self, i) != 0;
    if (self->releases)
        self->failed += loop_call_soon_threadsafe(self->to, release, self->to) != 0;
    return NULL;
}

static void start_poster(struct poster *poster, loop_t *to, int posts)
{
    *poster = (struct poster){.to = to, .posts = posts, .releases = true};
    loop_hold(to);
    assert_int_equal(pthread_create(&poster->thread, NULL, post_all, poster), 0);
}

static void check_poster(struct poster *poster)
{
    pthread_join(poster->thread, NULL);
    assert_int_equal(poster->failed, 0);
    assert_int_equal(poster->arrived, poster->posts);
    assert_int_equal(poster->out_of_order, 0);
}

static void finish(void)
{
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(reported(), "");
    assert_int_equal(close_loop(loop), 0);
}

static void all_posts_of_many_threads_arrive_in_each_thread_s_order(void **state)
{
    (void)state;
    loop = open_real_loop();
    for (int i = 0; i < THREADS; i++)
        start_poster(&posters[i], loop, POSTS);
    assert_int_equal(loop_run(loop), 0);
    for (int i = 0; i < THREADS; i++)
        check_poster(&posters[i]);
    finish();
}

static void posts_reach_a_loop_of_virtual_time_that_waits(void **state)
{
    (void)state;
    loop = open_loop();
    start_poster(&posters[0], loop, POSTS);
    assert_int_equal(loop_run(loop), 0);
    check_poster(&posters[0]);
    finish();
}

/* The thread posts a call only after the last one has run, so that the loop blocks in between. */
static atomic_int answered;

static void answer(void *arg)
{
    (void)arg;
    atomic_fetch_add(&answered, 1);
}

static void *ping(void *arg)
{
    for (int i = 0; i < PINGS; i++) {
        if (loop_call_soon_threadsafe(arg, answer, NULL) != 0)
            return arg;
        while (atomic_load(&answered) != i + 1)
            sched_yield();
    }
    return loop_call_soon_threadsafe(arg, release, arg) == 0 ? NULL : arg;
}

static void each_post_wakes_a_loop_that_blocks(void **state)
{
    (void)state;
    pthread_t thread;
    void *failed;
    loop = open_real_loop();
    loop_hold(loop);
    atomic_store(&answered, 0);
    assert_int_equal(pthread_create(&thread, NULL, ping, loop), 0);
    assert_int_equal(loop_run(loop), 0);
    pthread_join(thread, &failed);
    assert_null(failed);
    assert_int_equal(atomic_load(&answered), PINGS);
    finish();
}

static int yield_until_answered(void *arg)
{
    (void)arg;
    while (atomic_load(&answered) < PINGS && co_yield_now() == 0)
        ;
    return atomic_load(&answered);
}

static void posts_get_through_while_the_loop_is_busy(void **state)
{
    (void)state;
    pthread_t thread;
    void *failed;
    loop = open_real_loop();
    loop_hold(loop);
    atomic_store(&answered, 0);
    assert_int_equal(pthread_create(&thread, NULL, ping, loop), 0);
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, yield_until_answered, NULL)), PINGS);
    assert_int_equal(loop_run(loop), 0);
    pthread_join(thread, &failed);
    assert_null(failed);
    finish();
}

static void a_post_before_the_run_keeps_the_loop_running(void **state)
{
    (void)state;
    loop = open_loop();
    posters[0] = (struct poster){.to = loop, .posts = 3};
    post_all(&posters[0]);
    assert_int_equal(posters[0].arrived, 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(posters[0].arrived, 3);
    assert_int_equal(posters[0].out_of_order, 0);
    finish();
}

static void say(void *word)
{
    trace("%s", (const char *)word);
}

static void post_another(void *word)
{
    say(word);
    assert_int_equal(loop_call_soon_threadsafe(loop, say, "posted"), 0);
    assert_int_equal(loop_call_soon(loop, say, "soon", NULL), 0);
}

static void a_posted_call_may_post_and_is_a_pass_of_its_own(void **state)
{
    (void)state;
    loop = open_loop();
    assert_int_equal(loop_call_soon_threadsafe(loop, post_another, "a"), 0);
    assert_int_equal(loop_run_once(loop, 0), 1);
    assert_string_equal(traced(), "a");
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(traced(), "a soon posted");
    finish();
}

/* Some have room yet. */
static void without_memory_a_post_is_refused_and_the_others_arrive(void **state)
{
    (void)state;
    int n = 0, rc;
    loop = open_loop();
    posters[0] = (struct poster){.to = loop};
    fail_allocation(1, true);
    assert_int_equal(post_letter(&posters[0], n), -ENOMEM);
    fail_allocation(0, false);
    assert_int_equal(post_letter(&posters[0], n++), 0);
    fail_allocation(1, true);
    while ((rc = post_letter(&posters[0], n)) == 0)
        n++;
    assert_int_equal(rc, -ENOMEM);
    fail_allocation(0, false);
    assert_int_equal(post_letter(&posters[0], n++), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(posters[0].arrived, n);
    assert_int_equal(posters[0].out_of_order, 0);
    finish();
}

/* --- Ends ------------------------------------------------------------------------------------- */

static void *post_release(void *to)
{
    return loop_call_soon_threadsafe(to, release, to) == 0 ? NULL : to;
}

/* Its poster may not have returned yet; sanitizers see it if it touches the loop. */
static void a_loop_may_be_closed_when_the_last_call_has_run(void **state)
{
    (void)state;
    pthread_t threads[CLOSINGS];
    for (int i = 0; i < CLOSINGS; i++) {
        loop = open_real_loop();
        loop_hold(loop);
        assert_int_equal(pthread_create(&threads[i], NULL, post_release, loop), 0);
        finish();
    }
    for (int i = 0; i < CLOSINGS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
}

/* Two loops in two threads, each posting to the other while both run. */
static loop_t *_Atomic other;
static atomic_bool other_may_close;
static struct poster to_other, from_other;

static void *run_other(void *arg)
{
    loop_t *own = loop_new(NULL);
    loop_hold(own);
    atomic_store(&other, own);
    int rc = loop_run(own);
    while (!atomic_load(&other_may_close))
        sched_yield();
    return rc == 0 && loop_close(own) == 0 ? NULL : arg;
}

static void two_loops_post_to_each_other(void **state)
{
    (void)state;
    pthread_t thread;
    void *failed;
    loop = open_real_loop();
    atomic_store(&other_may_close, false);
    atomic_store(&other, NULL);
    assert_int_equal(pthread_create(&thread, NULL, run_other, &loop), 0);
    while (!atomic_load(&other))
        sched_yield();
    to_other = (struct poster){.to = atomic_load(&other), .posts = POSTS, .releases = true};
    start_poster(&from_other, loop, POSTS);
    post_all(&to_other);
    assert_int_equal(loop_run(loop), 0);
    check_poster(&from_other);
    atomic_store(&other_may_close, true);
    pthread_join(thread, &failed);
    assert_null(failed);
    assert_int_equal(to_other.arrived, POSTS);
    assert_int_equal(to_other.out_of_order, 0);
    finish();
}

/* --- Stopping --------------------------------------------------------------------------------- */

static atomic_int runs;

static void *stop_again_and_again(void *arg)
{
    for (int i = 0; i < STOPS; i++) {
        int seen = atomic_load(&runs);
        loop_stop(arg);
        while (atomic_load(&runs) == seen)
            sched_yield();
    }
    return NULL;
}

static void a_thread_stops_a_blocking_loop_again_and_again(void **state)
{
    (void)state;
    pthread_t thread;
    loop = open_real_loop();
    loop_hold(loop);
    atomic_store(&runs, 0);
    assert_int_equal(pthread_create(&thread, NULL, stop_again_and_again, loop), 0);
    for (int i = 0; i < STOPS; i++) {
        assert_int_equal(loop_run(loop), 1);
        atomic_fetch_add(&runs, 1);
    }
    pthread_join(thread, NULL);
    loop_release(loop);
    finish();
}

static int yield_for_ever(void *arg)
{
    (void)arg;
    int rc;
    while ((rc = co_yield_now()) == 0)
        ;
    return rc;
}

static void *stop_it(void *arg)
{
    loop_stop(arg);
    return NULL;
}

static void a_thread_stops_a_loop_that_is_busy(void **state)
{
    (void)state;
    pthread_t thread;
    loop = open_real_loop();
    assert_int_equal(co_go(yield_for_ever, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, stop_it, loop), 0);
    assert_int_equal(loop_run(loop), 1);
    pthread_join(thread, NULL);
    assert_int_equal(close_loop(loop), 1);
}

static void a_stop_ends_the_wait_of_run_once(void **state)
{
    (void)state;
    pthread_t thread;
    loop = open_real_loop();
    loop_hold(loop);
    assert_int_equal(pthread_create(&thread, NULL, stop_it, loop), 0);
    assert_int_equal(loop_run_once(loop, -1), 1);
    pthread_join(thread, NULL);
    loop_release(loop);
    finish();
}

static void stop(void *of)
{
    loop_stop(of);
}

static void *post_though_cancelled(void *arg)
{
    pthread_cancel(pthread_self()); /* will act in the next call that is a point for it */
    (void)loop_call_soon_threadsafe(arg, stop, arg);
    return NULL;
}

static void *stop_though_cancelled(void *arg)
{
    pthread_cancel(pthread_self());
    loop_stop(arg);
    return NULL;
}

/* Not after the post and before the wake-up, which nobody else would make up for. */
static void a_cancelled_thread_does_what_it_has_begun(void **state)
{
    (void)state;
    void *(*const fns[])(void *) = {post_though_cancelled, stop_though_cancelled};
    loop = open_real_loop();
    loop_hold(loop);
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, fns[i], loop), 0);
        assert_int_equal(loop_run(loop), 1);
        pthread_join(thread, NULL);
    }
    loop_release(loop);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_posts_of_many_threads_arrive_in_each_thread_s_order),
        cmocka_unit_test(posts_reach_a_loop_of_virtual_time_that_waits),
        cmocka_unit_test(each_post_wakes_a_loop_that_blocks),
        cmocka_unit_test(posts_get_through_while_the_loop_is_busy),
        cmocka_unit_test(a_post_before_the_run_keeps_the_loop_running),
        cmocka_unit_test(a_posted_call_may_post_and_is_a_pass_of_its_own),
        cmocka_unit_test(without_memory_a_post_is_refused_and_the_others_arrive),
        cmocka_unit_test(a_loop_may_be_closed_when_the_last_call_has_run),
        cmocka_unit_test(two_loops_post_to_each_other),
        cmocka_unit_test(a_thread_stops_a_blocking_loop_again_and_again),
        cmocka_unit_test(a_thread_stops_a_loop_that_is_busy),
        cmocka_unit_test(a_stop_ends_the_wait_of_run_once),
        cmocka_unit_test(a_cancelled_thread_does_what_it_has_begun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
