// The distance between names.
#include <string.h>

#include "ecolink/edit_distance.h"
#include "gen.h"

static size_t distance(const char *a, const char *b) {
  return eco_edit_distance(a, strlen(a), b, strlen(b));
}

static void test_known_distances(void **state) {
  (void)state;
  assert_int_equal(distance("", ""), 0);
  assert_int_equal(distance("", "abc"), 3);
  assert_int_equal(distance("LISTEN", "LISTEN"), 0);
  assert_int_equal(distance("LISEN", "LISTEN"), 1);
  assert_int_equal(distance("LISTNE", "LISTEN"), 1);
  assert_int_equal(distance("kitten", "sitting"), 3);
  assert_int_equal(distance("ab", "ba"), 1);
}

static void test_it_is_symmetric_and_bounded_by_the_number_of_edits(void **state) {
  (void)state;
  gen g = {21};
  for (int round = 0; round < 20000; round++) {
    char a[64];
    char b[64];
    size_t na = (size_t)gen_range(&g, 0, 40);
    for (size_t i = 0; i < na; i++) {
      a[i] = (char)('a' + gen_u64(&g) % 4);
    }
    size_t nb = na;
    memcpy(b, a, na);
    int edits = (int)gen_range(&g, 0, 5);
    for (int e = 0; e < edits; e++) {
      size_t at = nb > 0 ? gen_u64(&g) % nb : 0;
      if (nb > 0 && e % 2 == 0) {
        memmove(b + at, b + at + 1, nb - at - 1);
        nb--;
      } else {
        memmove(b + at + 1, b + at, nb - at);
        b[at] = 'z';
        nb++;
      }
    }
    size_t d = eco_edit_distance(a, na, b, nb);
    assert_true(d <= (size_t)edits);
    assert_int_equal(d, eco_edit_distance(b, nb, a, na));
    assert_true(d >= (na > nb ? na - nb : nb - na));
  }
}

static void test_names_that_are_too_long_are_infinitely_far(void **state) {
  (void)state;
  char name[ECO_EDIT_DISTANCE_MAX + 1];
  memset(name, 'a', sizeof(name));
  assert_int_equal(eco_edit_distance(name, ECO_EDIT_DISTANCE_MAX, name, ECO_EDIT_DISTANCE_MAX), 0);
  assert_true(eco_edit_distance(name, ECO_EDIT_DISTANCE_MAX + 1, name, 1) == SIZE_MAX);
  assert_true(eco_edit_distance(name, 1, name, ECO_EDIT_DISTANCE_MAX + 1) == SIZE_MAX);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_known_distances),
      cmocka_unit_test(test_it_is_symmetric_and_bounded_by_the_number_of_edits),
      cmocka_unit_test(test_names_that_are_too_long_are_infinitely_far),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
