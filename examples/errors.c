/* errors: how failures travel, and how what was begun is undone.
 *
 * An error is a negative errno value; co_fail adds words and a place, which the awaiting task can
 * read. From deep inside, co_throw goes to the nearest co_try, and on the way everything that
 * co_defer noted is done. A failure that nobody awaits reaches the loop's exception handler. It
 * prints:
 *
 *     awaited: No such file or directory: no user called "nobody" (errors.c:NN)
 *     parsing "12": 12
 *       free the parser
 *       free the parser
 *     parsing "1x": Invalid argument: 'x' is not a digit (errors.c:NN)
 *     nobody took: Connection refused, "task 'send_mail' (#3) failed: the mail server is down" */
#include <coloop.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static int find_user(void *name)
{
    return co_fail(-ENOENT, "no user called \"%s\"", (const char *)name);
}

static void print_error(int rc)
{
    const co_error_t *error = co_task_error(co_self());
    printf("%s: %s (%s)\n", strerror(-rc), error ? error->message : "no message",
           error ? error->where : "nowhere");
}

static int digit(char c)
{
    if (c < '0' || c > '9')
        co_throw(-EINVAL, "'%c' is not a digit", c); /* does not return */
    return c - '0';
}

static void say(void *text)
{
    printf("  %s\n", (const char *)text);
}

static int parse_number(void *text)
{
    int number = 0;
    co_defer(say, "free the parser"); /* whichever way this function is left */
    for (const char *c = text; *c; c++)
        number = number * 10 + digit(*c);
    printf("parsing \"%s\": %d\n", (const char *)text, number);
    return number;
}

static int send_mail(void *arg)
{
    (void)arg;
    return co_fail(-ECONNREFUSED, "the mail server is down");
}

static void on_exception(loop_t *loop, const loop_exception_t *exception, void *arg)
{
    (void)loop, (void)arg;
    printf("nobody took: %s, \"%s\"\n", strerror(-exception->error), exception->message);
}

static int show(void *arg)
{
    int rc = co_await_task(co_spawn(find_user, "nobody"));
    (void)arg;
    printf("awaited: ");
    print_error(rc);
    co_try(parse_number, "12");
    rc = co_try(parse_number, "1x");
    printf("parsing \"1x\": ");
    print_error(rc);
    loop_set_exception_handler(loop_current(), on_exception, NULL);
    return co_go(send_mail, NULL);
}

int main(void)
{
    return co_run(show, NULL) != 0;
}
