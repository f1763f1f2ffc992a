/* The read-write lock under load: nobody starves, no turn is lost. */
#include "support.h"

enum { STREAM = 500 }; /* that many turns, or it never ends if somebody starves */

struct stream {
    co_rwlock_t lock;
    bool end;
    int readers, writers;  /* that have it now */
    int reads, writes;     /* that were done */
    int64_t longest_write; /* the longest wait of a writer, and of a reader */
    int64_t longest_read;
    co_test_random_t random;
};

static void longer(int64_t *longest, int64_t since)
{
    int64_t waited = loop_time(loop_current()) - since;
    if (waited > *longest)
        *longest = waited;
}

/* Reads for 3 ms, and gives way in the line only. */
static void read_once(struct stream *s)
{
    int64_t since = loop_time(loop_current());
    CHECK_INT(co_rwlock_rdlock(&s->lock), 0);
    longer(&s->longest_read, since);
    CHECK_INT(s->writers, 0);
    s->readers++;
    CHECK_INT(co_sleep(3), 0);
    s->readers--;
    s->reads++;
    co_rwlock_unlock(&s->lock);
}

static void write_once(struct stream *s)
{
    int64_t since = loop_time(loop_current());
    CHECK_INT(co_rwlock_wrlock(&s->lock), 0);
    longer(&s->longest_write, since);
    CHECK_INT(s->writers + s->readers, 0);
    s->writers++;
    CHECK_INT(co_sleep(2), 0);
    s->writers--;
    s->writes++;
    co_rwlock_unlock(&s->lock);
}

static int read_on(void *arg)
{
    struct stream *s = arg;
    for (int i = 0; i < STREAM && !s->end; i++)
        read_once(s);
    return 0;
}

static int write_on(void *arg)
{
    struct stream *s = arg;
    for (int i = 0; i < STREAM && !s->end; i++)
        write_once(s);
    return 0;
}

/* Three readers, one beginning each millisecond: without any writer there is always one. */
static int write_among_readers(void *arg)
{
    struct stream s = {0};
    co_task_t *tasks[3];
    (void)arg;
    for (int i = 0; i < 3; i++) {
        tasks[i] = co_spawn(read_on, &s);
        CHECK_INT(co_sleep(1), 0);
    }
    for (int i = 0; i < 20; i++) {
        write_once(&s);
        CHECK_INT(co_sleep(5), 0);
    }
    s.end = true;
    CHECK_INT(co_gather_tasks(tasks, 3), 0);
    CHECK_INT(s.writes, 20);
    CHECK(s.longest_write <= 3 * MS); /* as long as those who read already took */
    CHECK(s.reads > 20);
    return 0;
}

static void a_stream_of_readers_does_not_starve_a_writer(void **state)
{
    (void)state;
    assert_int_equal(run_task(write_among_readers, NULL), 0);
}

static int read_among_writers(void *arg)
{
    struct stream s = {0};
    co_task_t *tasks[3];
    (void)arg;
    for (int i = 0; i < 3; i++)
        tasks[i] = co_spawn(write_on, &s);
    CHECK_INT(co_sleep(1), 0);
    for (int i = 0; i < 20; i++) {
        read_once(&s);
        CHECK_INT(co_sleep(1), 0);
    }
    s.end = true;
    CHECK_INT(co_gather_tasks(tasks, 3), 0);
    CHECK_INT(s.reads, 20);
    CHECK(s.longest_read <= 3 * 2 * MS); /* each writer before it once */
    CHECK(s.writes > 20);
    return 0;
}

static void a_stream_of_writers_does_not_starve_a_reader(void **state)
{
    (void)state;
    assert_int_equal(run_task(read_among_writers, NULL), 0);
}

/* --- By chance -------------------------------------------------------------------------------- */

static int use_by_chance(void *arg)
{
    struct stream *s = arg;
    for (int i = 0; i < 300; i++) {
        bool writes = co_test_below(&s->random, 3) == 0;
        int rc = 1;
        co_timeout((int64_t)co_test_below(&s->random, 12)) rc =
            writes ? co_rwlock_wrlock(&s->lock) : co_rwlock_rdlock(&s->lock);
        if (rc < 0)
            continue;
        CHECK(s->writers == 0 && (!writes || s->readers == 0));
        *(writes ? &s->writers : &s->readers) += 1;
        co_shield() CHECK_INT(co_sleep((int64_t)co_test_below(&s->random, 4)), 0);
        *(writes ? &s->writers : &s->readers) -= 1;
        *(writes ? &s->writes : &s->reads) += 1;
        co_rwlock_unlock(&s->lock);
    }
    return 0;
}

static int use_all(void *arg)
{
    enum { USERS = 12 };
    struct stream s = {.random = {(uint64_t)(uintptr_t)arg}};
    co_task_t *tasks[USERS];
    int rc = 1;
    for (int i = 0; i < USERS; i++)
        tasks[i] = co_spawn(use_by_chance, &s);
    while (s.reads + s.writes < 200) { /* some are cancelled, and replaced */
        size_t i = co_test_below(&s.random, USERS);
        co_task_cancel(tasks[i]);
        co_await_task(tasks[i]);
        tasks[i] = co_spawn(use_by_chance, &s);
        CHECK_INT(co_sleep(2), 0);
    }
    CHECK_INT(co_gather_tasks(tasks, USERS), 0);
    CHECK(s.reads > 100 && s.writes > 30);
    co_timeout(1) rc = co_rwlock_wrlock(&s.lock); /* nobody has it, nobody waits */
    co_rwlock_unlock(&s.lock);
    CHECK(s.lock.writer == NULL && s.lock.readers == 0);
    return rc;
}

static void many_random_timeouts_and_cancellations_lose_no_turn(void **state)
{
    (void)state;
    for (uintptr_t seed = 1; seed <= 5; seed++)
        assert_int_equal(run_task(use_all, (void *)seed), 0);
}

/* --- One at a time ---------------------------------------------------------------------------- */

struct user {
    co_rwlock_t *lock;
    const char *name; /* "r..." reads, "w..." writes */
};

static int use(void *arg)
{
    const struct user *user = arg;
    int rc = user->name[0] == 'r' ? co_rwlock_rdlock(user->lock) : co_rwlock_wrlock(user->lock);
    trace("%s%s", user->name, rc < 0 ? "-" : "+");
    if (rc < 0)
        return rc;
    co_shield() co_sleep(5);
    co_rwlock_unlock(user->lock);
    return 0;
}

enum { USERS_MAX = 8 };

struct line {
    co_rwlock_t lock;
    struct user users[USERS_MAX];
    co_task_t *tasks[USERS_MAX];
};

/* Starts users in this order; the first gets the lock. */
static size_t start(struct line *line, const char *const names[])
{
    size_t n = 0;
    *line = (struct line){0};
    for (; names[n]; n++) {
        line->users[n] = (struct user){&line->lock, names[n]};
        line->tasks[n] = co_spawn(use, &line->users[n]);
        CHECK_INT(co_yield_now(), 0);
    }
    return n;
}

static int batch(void *arg)
{
    struct line line;
    const char *const names[] = {"w1", "r1", "r2", "w2", "r3", "r4", NULL};
    (void)arg;
    size_t n = start(&line, names);
    CHECK_INT(co_sleep(6), 0);
    CHECK_INT((int64_t)line.lock.readers, 2); /* both, and none of those behind w2 */
    trace("|");
    return co_gather_tasks(line.tasks, n);
}

static void readers_in_a_row_are_let_in_together(void **state)
{
    (void)state;
    assert_int_equal(run_task(batch, NULL), 0);
    assert_string_equal(traced(), "w1+ r1+ r2+ | w2+ r3+ r4+");
}

/* The line, who is cancelled in it, and what follows. */
static const struct {
    const char *names[USERS_MAX], *trace;
    int cancelled;
} cases[] = {
    /* readers have it: with the first writer gone, those up to the second one come in */
    {{"r1", "w1", "r2", "w2", "r3"}, "r1+ r2+ w1- w2+ r3+", 1},
    {{"r1", "w1", "w2", "r2"}, "r1+ w1- w2+ r2+", 1},
    {{"r1", "w1", "w2", "r2"}, "r1+ w2- w1+ r2+", 2},
    /* a writer has it: nobody comes in before it ends */
    {{"w1", "w2", "r1", "r2"}, "w1+ w2- r1+ r2+", 1},
    {{"w1", "r1", "w2", "r2"}, "w1+ r1- w2+ r2+", 1},
    {{"w1", "r1", "w2", "r2"}, "w1+ w2- r1+ r2+", 2},
};

static int cancel_one(void *arg)
{
    struct line line;
    size_t i = (size_t)(uintptr_t)arg, n = start(&line, cases[i].names);
    bool readers_have_it = cases[i].names[0][0] == 'r';
    size_t before = line.lock.readers;
    co_task_cancel(line.tasks[cases[i].cancelled]);
    CHECK_INT(co_yield_now(), 0);
    CHECK(readers_have_it ? line.lock.readers >= before : line.lock.readers == 0);
    CHECK_INT(co_gather_all(line.tasks, n, NULL), 1);
    return co_rwlock_wrlock(&line.lock);
}

static void whoever_leaves_the_line_lets_in_who_can_be(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(run_task(cancel_one, (void *)i), 0);
        assert_string_equal(traced(), cases[i].trace);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_of_readers_does_not_starve_a_writer),
        cmocka_unit_test(a_stream_of_writers_does_not_starve_a_reader),
        cmocka_unit_test(many_random_timeouts_and_cancellations_lose_no_turn),
        cmocka_unit_test(readers_in_a_row_are_let_in_together),
        cmocka_unit_test(whoever_leaves_the_line_lets_in_who_can_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
