// The rig's histogram: what it says of times must be true within its promise.
#include <stdlib.h>

#include "cmocka_all.h"
#include "hist.h"

static rig_hist h;

static void test_small_values_are_exact(void **state) {
  (void)state;
  rig_hist_clear(&h);
  for (uint64_t v = 1; v <= 50; v++) {
    rig_hist_add(&h, v);
  }
  assert_int_equal(rig_hist_at(&h, 0.5), 25);
  assert_int_equal(rig_hist_at(&h, 1), 50);
}

static void test_large_values_are_known_within_two_percent(void **state) {
  (void)state;
  for (uint64_t v = 1; v < (UINT64_C(1) << 40); v = v * 3 + 1) {
    rig_hist_clear(&h);
    rig_hist_add(&h, v);
    rig_hist_add(&h, v * 10);  // else the maximum would tell
    uint64_t told = rig_hist_at(&h, 0.5);
    assert_true(told >= v && told <= v + v / 60);
  }
}

static void test_percentiles_of_a_known_spread(void **state) {
  (void)state;
  rig_hist_clear(&h);
  for (uint64_t i = 1; i <= 100000; i++) {
    rig_hist_add(&h, i * 1000);
  }
  uint64_t p99 = rig_hist_at(&h, 0.99);
  assert_true(p99 >= 99000000 && p99 <= 100600000);
  assert_int_equal(rig_hist_at(&h, 1), 100000000);
  assert_int_equal(h.max, 100000000);
}

static void test_nothing_measured_is_zero(void **state) {
  (void)state;
  rig_hist_clear(&h);
  assert_int_equal(rig_hist_at(&h, 0.99), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_small_values_are_exact),
      cmocka_unit_test(test_large_values_are_known_within_two_percent),
      cmocka_unit_test(test_percentiles_of_a_known_spread),
      cmocka_unit_test(test_nothing_measured_is_zero),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
