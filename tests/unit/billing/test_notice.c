// Runway, thresholds and the texts that customers read.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka wants the four above first
#include <cmocka.h>

#include "ecolink/v1/scheduler.pb-c.h"
#include "notice.h"
#include "page.h"
#include "runway.h"

static void test_runway_counts_available_and_what_is_left_of_holds(void **state) {
  (void)state;
  int64_t s;
  assert_true(notice_runway_s(1000000, 3200000, 1000000, 3200000, &s));
  assert_int_equal(s, 3600);
  assert_true(notice_runway_s(0, 3200000, 4000000, 3200000, &s));
  assert_int_equal(s, 0);
  assert_false(notice_runway_s(1000000, 0, 0, 0, &s));
}

static void test_each_threshold_fires_once_while_credit_runs_down(void **state) {
  (void)state;
  static const int expected[] = {60, 30, 20, 10, 5, 3, 1};
  int fired = 0;
  int told = 0;
  for (int64_t runway_s = 4000; runway_s >= 0; runway_s--) {
    const notice_threshold *t = notice_low_balance(runway_s, &fired);
    if (t != NULL) {
      assert_int_equal(t->minutes, expected[told]);
      assert_int_equal(t->critical, t->minutes <= 10);
      assert_int_equal(runway_s, t->minutes * 60);
      told++;
    }
  }
  assert_int_equal(told, 7);
}

static void test_fall_past_several_thresholds_tells_of_the_tightest(void **state) {
  (void)state;
  int fired = 0;
  const notice_threshold *t = notice_low_balance(250, &fired);
  assert_non_null(t);
  assert_int_equal(t->minutes, 5);
  assert_null(notice_low_balance(250, &fired));
}

static void test_small_top_up_within_an_episode_does_not_repeat_a_threshold(void **state) {
  (void)state;
  int fired = 0;
  assert_non_null(notice_low_balance(500, &fired));
  assert_null(notice_low_balance(3000, &fired));
  assert_null(notice_low_balance(500, &fired));
  assert_int_equal(notice_low_balance(290, &fired)->minutes, 5);
}

static void test_episode_ends_when_runway_exceeds_an_hour(void **state) {
  (void)state;
  int fired = 1;
  assert_null(notice_low_balance(3600, &fired));
  assert_int_equal(fired, 1);
  assert_null(notice_low_balance(3601, &fired));
  assert_int_equal(fired, 0);
  assert_int_equal(notice_low_balance(3600, &fired)->minutes, 60);
}

static void test_partial_text_is_the_documented_one(void **state) {
  (void)state;
  char text[NOTICE_TEXT_MAX];
  notice_partial_text(72000000, 20223, text);  // 72 dollars at 307.60 a day
  assert_string_equal(text, "$72.00 credit can cover 5.6 more hours. Recharge to continue.");
  notice_partial_text(53334, 60, text);
  assert_string_equal(text, "$0.05 credit can cover 0.016 more hours. Recharge to continue.");
}

static void test_refused_launch_names_hold_balance_and_what_is_short(void **state) {
  (void)state;
  char text[NOTICE_TEXT_MAX];
  notice_insufficient_text(76800000, 12000000, text);
  assert_string_equal(text, "this launch needs a hold of $76.80; $12.00 is available: top up at least $64.80");
}

static store_hold running_hold(void) {
  return (store_hold){
      .instance_status = ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_RUNNING,
      .ready_replicas = 1,
      .metered_until_us = 100 * CYCLE_US_PER_S,
      .metered_seconds = 3600,
      .rule = {.terms = {1600000, 1, 2}, .amount_micros = 76800000},
  };
}

static void test_degraded_instance_burns_for_its_ready_replicas(void **state) {
  (void)state;
  store_hold hold = running_hold();
  runway_sum sum = runway_of(&hold, 1, 100 * CYCLE_US_PER_S);
  assert_int_equal(sum.burn_micros_per_hour, 1600000);
  assert_int_equal(sum.accrued_micros, 1600000);
  assert_int_equal(sum.held_micros, 76800000);
}

static void test_uptime_since_the_last_reading_is_estimated(void **state) {
  (void)state;
  store_hold hold = running_hold();
  runway_sum sum = runway_of(&hold, 1, 3700 * CYCLE_US_PER_S);
  assert_int_equal(sum.accrued_micros, 3200000);
}

static void test_stopping_instance_burns_nothing(void **state) {
  (void)state;
  store_hold hold = running_hold();
  hold.instance_status = ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPING;
  runway_sum sum = runway_of(&hold, 1, 3700 * CYCLE_US_PER_S);
  assert_int_equal(sum.burn_micros_per_hour, 0);
  assert_int_equal(sum.accrued_micros, 1600000);
}

static void test_estimate_never_exceeds_the_hold(void **state) {
  (void)state;
  store_hold hold = running_hold();
  runway_sum sum = runway_of(&hold, 1, INT64_C(1000000000) * CYCLE_US_PER_S);
  assert_int_equal(sum.accrued_micros, hold.rule.amount_micros);
}

static void test_dates_and_usage_cursors_are_checked(void **state) {
  (void)state;
  int64_t n;
  int64_t instance;
  const char *key;
  assert_true(eco_ok(page_day("1970-01-02", "from", 0, &n)) && n == 1);
  assert_true(eco_ok(page_day("", "from", 9, &n)) && n == 9);
  assert_string_equal(page_day("2026-02-30", "from", 0, &n).param, "from");
  assert_string_equal(page_day("2026-1-1", "to", 0, &n).param, "to");
  assert_true(eco_ok(page_usage_cursor("20000.17.key_x.y", &n, &instance, &key)));
  assert_int_equal(n, 20000);
  assert_int_equal(instance, 17);
  assert_string_equal(key, "key_x.y");
  assert_string_equal(page_usage_cursor("20000.17", &n, &instance, &key).param, "cursor");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_runway_counts_available_and_what_is_left_of_holds),
      cmocka_unit_test(test_each_threshold_fires_once_while_credit_runs_down),
      cmocka_unit_test(test_fall_past_several_thresholds_tells_of_the_tightest),
      cmocka_unit_test(test_small_top_up_within_an_episode_does_not_repeat_a_threshold),
      cmocka_unit_test(test_episode_ends_when_runway_exceeds_an_hour),
      cmocka_unit_test(test_partial_text_is_the_documented_one),
      cmocka_unit_test(test_refused_launch_names_hold_balance_and_what_is_short),
      cmocka_unit_test(test_degraded_instance_burns_for_its_ready_replicas),
      cmocka_unit_test(test_uptime_since_the_last_reading_is_estimated),
      cmocka_unit_test(test_stopping_instance_burns_nothing),
      cmocka_unit_test(test_estimate_never_exceeds_the_hold),
      cmocka_unit_test(test_dates_and_usage_cursors_are_checked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
