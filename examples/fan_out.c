/* fan_out: a crawler follows links with a task for each page, all in one group under one deadline.
 *
 * A page's task spawns the tasks of the pages it links to into the same group, and the block ends
 * when none is left. One page never answers: the deadline ends it, and everything with it. The web
 * is simulated: page n links to 2n and 2n + 1. It prints:
 *
 *     a small web: Success, 15 pages
 *     a web with a black hole: Connection timed out, 12 pages */
#include <coloop.h>
#include <stdio.h>
#include <string.h>

enum { PAGES = 15, NOWHERE = 0 };

struct crawl {
    co_group_t *group;
    int hole; /* the page that never answers */
    int fetched;
};
struct page {
    struct crawl *crawl;
    int number;
};

static int fetch(const struct page *page)
{
    return co_sleep(page->number == page->crawl->hole ? -1 : 5);
}

static int visit(void *arg);

/* The arguments of all pages live as long as the crawl. */
static int follow(struct crawl *crawl, struct page pages[], int number)
{
    if (number > PAGES)
        return 0;
    pages[number] = (struct page){crawl, number};
    return co_group_spawn(crawl->group, visit, &pages[number]);
}

static int visit(void *arg)
{
    struct page *page = arg, *pages = page - page->number;
    int rc = fetch(page);
    if (rc < 0)
        return rc;
    page->crawl->fetched++;
    if ((rc = follow(page->crawl, pages, 2 * page->number)) == 0)
        rc = follow(page->crawl, pages, 2 * page->number + 1);
    return rc;
}

static void crawl_web(const char *what, int hole)
{
    struct page pages[PAGES + 1];
    struct crawl crawl = {.hole = hole};
    int rc = 0;
    co_timeout(200) co_group(group, &rc)
    {
        crawl.group = group;
        follow(&crawl, pages, 1);
    }
    printf("%s: %s, %d pages\n", what, strerror(-rc), crawl.fetched);
}

static int show(void *arg)
{
    (void)arg;
    crawl_web("a small web", NOWHERE);
    crawl_web("a web with a black hole", 4); /* and 8 and 9 are behind it */
    return 0;
}

int main(void)
{
    return co_run(show, NULL) != 0;
}
