/* The list: what is in it, in which order, and what a link says of itself. */
#include "support.h"

#include "base/list.h"

struct item {
    char name;
    struct coloop__link link;
};

static struct item a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'}, d = {.name = 'd'};

static int fresh(void **state)
{
    (void)state;
    a.link.next = b.link.next = c.link.next = d.link.next = NULL;
    return 0;
}

/* The names in order, after looking at every pointer in both directions. */
static const char *names(const struct list *list)
{
    static char text[8];
    size_t n = 0;
    list_for_each(link, list) {
        assert_ptr_equal(link->next->prev, link);
        assert_ptr_equal(link->prev->next, link);
        assert_true(list_linked(link));
        text[n++] = container_of(link, struct item, link)->name;
    }
    text[n] = '\0';
    assert_int_equal(list_count(list), n);
    assert_int_equal(list_empty(list), n == 0);
    return text;
}

static void a_new_list_is_empty(void **state)
{
    (void)state;
    struct list list;
    list_init(&list);
    assert_string_equal(names(&list), "");
    assert_null(list_first(&list));
    assert_null(list_pop_front(&list));
}

static void pushing_keeps_order_at_both_ends(void **state)
{
    (void)state;
    struct list list;
    list_init(&list);
    list_push_back(&list, &b.link);
    list_push_back(&list, &c.link);
    list_push_front(&list, &a.link);
    assert_string_equal(names(&list), "abc");
    assert_ptr_equal(list_first(&list), &a.link);
}

static void an_insertion_comes_before_its_neighbour(void **state)
{
    (void)state;
    struct list list;
    list_init(&list);
    list_push_back(&list, &a.link);
    list_push_back(&list, &d.link);
    list_insert(&b.link, &d.link);
    list_insert(&c.link, &d.link);
    assert_string_equal(names(&list), "abcd");
}

static void a_removed_link_is_in_no_list(void **state)
{
    (void)state;
    struct list list;
    list_init(&list);
    list_push_back(&list, &a.link);
    list_push_back(&list, &b.link);
    list_push_back(&list, &c.link);
    list_remove(&b.link);
    assert_false(list_linked(&b.link));
    assert_string_equal(names(&list), "ac");
    list_remove(&c.link);
    list_remove(&a.link);
    assert_string_equal(names(&list), "");
    list_push_back(&list, &b.link);
    assert_string_equal(names(&list), "b");
}

static void popping_takes_first_in_first_out(void **state)
{
    (void)state;
    struct list list;
    list_init(&list);
    list_push_back(&list, &a.link);
    list_push_back(&list, &b.link);
    assert_ptr_equal(list_pop_front(&list), &a.link);
    assert_false(list_linked(&a.link));
    list_push_back(&list, &a.link);
    assert_string_equal(names(&list), "ba");
}

static void appending_moves_everything_and_leaves_the_other_empty(void **state)
{
    (void)state;
    struct list to, from;
    list_init(&to);
    list_init(&from);
    list_append(&to, &from);
    assert_string_equal(names(&to), "");
    list_push_back(&from, &a.link);
    list_push_back(&from, &b.link);
    list_append(&to, &from);
    assert_string_equal(names(&to), "ab");
    assert_string_equal(names(&from), "");
    list_push_back(&from, &c.link);
    list_push_back(&from, &d.link);
    list_append(&to, &from);
    list_append(&to, &from);
    assert_string_equal(names(&to), "abcd");
    assert_string_equal(names(&from), "");
}

static void moving_takes_everything_along_in_order(void **state)
{
    (void)state;
    struct list from, to;
    list_init(&from);
    list_init(&to);
    list_push_back(&from, &a.link);
    list_move(&to, &from);
    assert_string_equal(names(&to), "a");
    assert_string_equal(names(&from), "");
    list_push_back(&to, &b.link);
    list_push_back(&to, &c.link);
    list_move(&from, &to);
    assert_string_equal(names(&from), "abc");
    assert_string_equal(names(&to), "");
}

static void the_first_can_be_taken_out_of_what_is_not_empty(void **state)
{
    (void)state;
    struct list list;
    list_init(&list);
    list_push_back(&list, &a.link);
    list_push_back(&list, &b.link);
    list_remove_first(&list);
    assert_string_equal(names(&list), "b");
    assert_false(list_linked(&a.link));
    list_remove_first(&list);
    assert_string_equal(names(&list), "");
    assert_false(list_linked(&b.link));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_new_list_is_empty, fresh),
        cmocka_unit_test_setup(pushing_keeps_order_at_both_ends, fresh),
        cmocka_unit_test_setup(an_insertion_comes_before_its_neighbour, fresh),
        cmocka_unit_test_setup(a_removed_link_is_in_no_list, fresh),
        cmocka_unit_test_setup(popping_takes_first_in_first_out, fresh),
        cmocka_unit_test_setup(appending_moves_everything_and_leaves_the_other_empty, fresh),
        cmocka_unit_test_setup(moving_takes_everything_along_in_order, fresh),
        cmocka_unit_test_setup(the_first_can_be_taken_out_of_what_is_not_empty, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
