// Limits and cursors of lists, and the small messages they are made of.
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "ecolink/lists.h"

static void test_limit_is_the_default_when_absent_and_bounded_otherwise(void **state) {
  (void)state;
  for (int32_t asked = -200; asked <= 200; asked++) {
    int32_t limit = 0;
    eco_status st = eco_page_limit(asked, 20, 100, &limit);
    if (asked < 0 || asked > 100) {
      assert_int_equal(st.code, ECO_INVALID_REQUEST);
      assert_string_equal(st.param, "limit");
    } else {
      assert_true(eco_ok(st));
      assert_int_equal(limit, asked == 0 ? 20 : asked);
    }
  }
}

static void test_position_reads_every_number_it_could_have_given_out(void **state) {
  (void)state;
  int64_t n = 0;
  assert_true(eco_ok(eco_page_position("", 7, &n)));
  assert_int_equal(n, 7);
  for (int64_t want = 0; want < INT64_MAX / 3; want = want * 3 + 1) {
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, want);
    assert_true(eco_ok(eco_page_position(text, 7, &n)));
    assert_int_equal(n, want);
  }
  assert_true(eco_ok(eco_page_position("9223372036854775807", 7, &n)));
  assert_true(n == INT64_MAX);
}

static void test_position_refuses_what_is_no_number(void **state) {
  (void)state;
  static const char *const bad[] = {"x", "-1", "1x", " 1", "+1", "1 ", "9223372036854775808", "99999999999999999999"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    int64_t n = 5;
    assert_string_equal(eco_page_position(bad[i], 0, &n).param, "cursor");
    assert_int_equal(n, 5);
  }
}

static void test_page_says_whether_there_is_more(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  assert_false(eco_pb_page(arena, NULL)->has_more);
  assert_string_equal(eco_pb_page(arena, NULL)->next_cursor, "");
  assert_true(eco_pb_page(arena, "17")->has_more);
  assert_string_equal(eco_pb_page(arena, "17")->next_cursor, "17");
  assert_null(eco_pb_time_or_null(arena, 0));
  assert_int_equal(eco_pb_time_or_null(arena, 5)->micros, 5);
  assert_int_equal(eco_pb_money(arena, -5)->micros, -5);
  eco_arena_free(arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_limit_is_the_default_when_absent_and_bounded_otherwise),
      cmocka_unit_test(test_position_reads_every_number_it_could_have_given_out),
      cmocka_unit_test(test_position_refuses_what_is_no_number),
      cmocka_unit_test(test_page_says_whether_there_is_more),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
