/* list.h: an intrusive doubly linked list. A link that is in no list has a NULL next. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <coloop/base.h>

/* In a shared library, without a call to find the variable. */
#if defined(__GLIBC__)
#define COLOOP__FAST_TLS __attribute__((tls_model("initial-exec")))
#else
#define COLOOP__FAST_TLS
#endif

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

struct list {
    struct coloop__link head;
};

static inline void list_init(struct list *list)
{
    list->head.next = list->head.prev = &list->head;
}

/* The list that begins at a link which may still be zeroed, as in an object that is valid so. */
static inline struct list *list_of(struct coloop__link *head)
{
    struct list *list = (struct list *)head;
    if (!head->next)
        list_init(list);
    return list;
}

static inline bool list_empty(const struct list *list)
{
    return list->head.next == &list->head;
}

static inline bool list_linked(const struct coloop__link *link)
{
    return link->next != NULL;
}

static inline void list_insert(struct coloop__link *link, struct coloop__link *before)
{
    link->next = before;
    link->prev = before->prev;
    before->prev->next = link;
    before->prev = link;
}

static inline void list_push_back(struct list *list, struct coloop__link *link)
{
    list_insert(link, &list->head);
}

static inline void list_push_front(struct list *list, struct coloop__link *link)
{
    list_insert(link, list->head.next);
}

static inline void list_remove(struct coloop__link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = NULL;
}

/* The first link, or NULL. */
static inline struct coloop__link *list_first(const struct list *list)
{
    return list_empty(list) ? NULL : list->head.next;
}

/* Of a list that is not empty. */
static inline void list_remove_first(struct list *list)
{
    struct coloop__link *link = list->head.next;
    list->head.next = link->next;
    link->next->prev = &list->head;
    link->next = NULL;
}

static inline struct coloop__link *list_pop_front(struct list *list)
{
    struct coloop__link *link = list_first(list);
    if (link)
        list_remove_first(list);
    return link;
}

/* Moves everything in `from` to the end of `to`. */
static inline void list_append(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->head.next->prev = to->head.prev;
    to->head.prev->next = from->head.next;
    from->head.prev->next = &to->head;
    to->head.prev = from->head.prev;
    list_init(from);
}

/* Moves everything in `from`, which is not empty, to `to`, which is. */
static inline void list_move(struct list *to, struct list *from)
{
    struct coloop__link *first = from->head.next, *last = from->head.prev;
    to->head.next = first;
    to->head.prev = last;
    first->prev = last->next = &to->head;
    list_init(from);
}

static inline size_t list_count(const struct list *list)
{
    size_t n = 0;
    for (const struct coloop__link *l = list->head.next; l != &list->head; l = l->next)
        n++;
    return n;
}

#define list_for_each(link, list)                                                                  \
    for (struct coloop__link *link = (list)->head.next; link != &(list)->head; link = link->next)

#endif
