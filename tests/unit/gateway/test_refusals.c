// The log of refusals: a line each for a few, and no refusal that neither has a line nor is counted.
#include <stdlib.h>

#include "cmocka_all.h"
#include "refusals.h"

enum { LINES = 10 };

static void test_of_each_code_the_first_few_of_a_second_have_a_line(void **state) {
  (void)state;
  gw_refusals r = {0};
  for (int second = 0; second < 3; second++) {
    for (int i = 0; i < LINES + 5; i++) {
      assert_int_equal(gw_refusals_say(&r, ECO_UNAUTHORIZED, LINES), i < LINES);
    }
    assert_true(gw_refusals_say(&r, ECO_NOT_FOUND, LINES));  // another code's flood takes no line away
    assert_int_equal(gw_refusals_end(&r, ECO_UNAUTHORIZED), 5);
    assert_int_equal(gw_refusals_end(&r, ECO_UNAUTHORIZED), 0);
    assert_int_equal(gw_refusals_end(&r, ECO_NOT_FOUND), 0);
  }
}

static void test_lines_and_counts_add_up_to_what_was_refused(void **state) {
  (void)state;
  gw_refusals r = {0};
  uint64_t refused[ECO_CODE_COUNT] = {0};
  uint64_t told[ECO_CODE_COUNT] = {0};
  srand(6);
  for (int i = 0; i < 200000; i++) {
    eco_code code = (eco_code)(rand() % ECO_CODE_COUNT);
    refused[code]++;
    told[code] += gw_refusals_say(&r, code, LINES);
    if (rand() % 500 == 0) {
      for (int c = 0; c < ECO_CODE_COUNT; c++) {
        told[c] += gw_refusals_end(&r, (eco_code)c);
      }
    }
  }
  for (int c = 0; c < ECO_CODE_COUNT; c++) {
    assert_int_equal(told[c] + gw_refusals_end(&r, (eco_code)c), refused[c]);
  }
}

static void test_no_lines_at_all_are_a_choice_too(void **state) {
  (void)state;
  gw_refusals r = {0};
  assert_false(gw_refusals_say(&r, ECO_OVERLOADED, 0));
  assert_int_equal(gw_refusals_end(&r, ECO_OVERLOADED), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_of_each_code_the_first_few_of_a_second_have_a_line),
      cmocka_unit_test(test_no_lines_at_all_are_a_choice_too),
      cmocka_unit_test(test_lines_and_counts_add_up_to_what_was_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
