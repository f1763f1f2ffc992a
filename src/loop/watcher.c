/* watcher.c: loop_add_reader and loop_add_writer: callbacks for as long as an fd is ready. */
#include "base/alloc.h"
#include "loop/core.h"

#include <errno.h>

static void watcher_run(struct loop__ready *item)
{
    struct loop__watcher *watcher = container_of(item, struct loop__watcher, ready);
    watcher->fn(watcher->arg);
}

loop_fn *loop__watcher_fn(const struct loop__ready *item)
{
    return item->run == watcher_run ? container_of(item, const struct loop__watcher, ready)->fn
                                    : NULL;
}

static int add(loop_t *loop, int fd, int direction, loop_fn *fn, void *arg)
{
    if (!fn)
        return -EINVAL;
    struct loop__fd *entry;
    int rc = loop__fd_get(loop, fd, &entry);
    if (rc < 0)
        return rc;
    struct loop__watcher *watcher = entry->watchers[direction];
    if (!watcher && !(watcher = entry->watchers[direction] = coloop__zalloc(sizeof *watcher)))
        return -ENOMEM;
    loop_fn *old = watcher->fn;
    watcher->ready.run = watcher_run;
    watcher->fn = fn;
    if (!entry->own)
        entry->armed = 0; /* the number may be another file by now: ask the selector */
    rc = loop__fd_update(loop, fd, entry);
    if (rc < 0) {
        watcher->fn = old;
        return rc;
    }
    watcher->arg = arg;
    loop->watchers += !old;
    return 0;
}

static int remove_watcher(loop_t *loop, int fd, int direction)
{
    struct loop__fd *entry = loop__fd_find(loop, fd);
    struct loop__watcher *watcher = entry ? entry->watchers[direction] : NULL;
    if (!watcher || !watcher->fn)
        return 0;
    watcher->fn = NULL;
    loop->watchers--;
    if (list_linked(&watcher->ready.link))
        list_remove(&watcher->ready.link);
    loop__fd_update(loop, fd, entry);
    return 1;
}

int loop_add_reader(loop_t *loop, int fd, loop_fn *fn, void *arg)
{
    return add(loop, fd, 0, fn, arg);
}

int loop_remove_reader(loop_t *loop, int fd)
{
    return remove_watcher(loop, fd, 0);
}

int loop_add_writer(loop_t *loop, int fd, loop_fn *fn, void *arg)
{
    return add(loop, fd, 1, fn, arg);
}

int loop_remove_writer(loop_t *loop, int fd)
{
    return remove_watcher(loop, fd, 1);
}
