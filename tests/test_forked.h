/* test_forked.h: what may abort or never end runs in a child process with an alarm. */
#ifndef TESTS_TEST_FORKED_H
#define TESTS_TEST_FORKED_H

#include "support.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

/* Runs fn(arg), which ends the process with _exit or an abort, and returns its wait status; what it
 * wrote to stderr goes to words. */
static inline int run_forked(void (*fn)(void *), void *arg, char *words, size_t size)
{
    int fds[2], status;
    size_t used = 0;
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(fds[1], STDERR_FILENO);
        close(fds[1]);
        signal(SIGABRT, SIG_DFL);
        alarm(under_valgrind() ? 60 : 20);
        fn(arg);
        _exit(0);
    }
    close(fds[1]);
    for (ssize_t n; (n = read(fds[0], words + used, size - 1 - used)) > 0;)
        used += (size_t)n;
    words[used] = '\0';
    close(fds[0]);
    char *emulators = under_emulator() ? strstr(words, "qemu: uncaught target signal") : NULL;
    if (emulators)
        *emulators = '\0';
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* fn(arg) is expected to end with 0 and to be silent. */
static inline void expect_end(void (*fn)(void *), void *arg)
{
    char words[4096];
    int status = run_forked(fn, arg, words, sizeof words);
    if (status)
        fail_msg("the child ended with status %#x and wrote: %s", (unsigned)status, words);
}

/* fn(arg) is expected to abort, and what it wrote is returned. */
static inline const char *words_of_abort(void (*fn)(void *), void *arg)
{
    static char words[4096];
    int status = run_forked(fn, arg, words, sizeof words);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
        fail_msg("no abort: the child ended with status %#x and wrote: %s", (unsigned)status,
                 words);
    return words;
}

#endif
