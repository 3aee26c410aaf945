// The rules of a billing cycle, case by case. Generated lives are in test_cycle_generated.c.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
// cmocka wants the four above first
#include <cmocka.h>

#include "billing_limits.h"
#include "cycle.h"

#define S CYCLE_US_PER_S
#define T0 (INT64_C(1790000000) * S)
#define HOUR (3600 * S)
#define DAY_S 86400

static const cycle_terms terms = {.rate_micros_per_gpu_hour = 1600000, .gpu_count = 1, .total_replicas = 2};

static cycle_hold full_hold(void) {
  return (cycle_hold){.terms = terms,
                      .amount_micros = 76800000,
                      .started_at_us = T0,
                      .expires_at_us = T0 + DAY_S * S,
                      .settled_until_us = T0};
}

static cycle_reading reading(cycle_interval *intervals, size_t count, int64_t observed_until_us) {
  cycle_sort(intervals, count);
  return (cycle_reading){.known = true, .observed_until_us = observed_until_us, .intervals = intervals, .count = count};
}

static cycle_reading stopped(cycle_interval *intervals, size_t count, int64_t stop_us) {
  cycle_reading r = reading(intervals, count, stop_us);
  r.over = true;
  r.complete = true;
  r.stop_requested_at_us = stop_us;
  return r;
}

// ---- holds ----

static void test_full_hold_is_rate_times_gpus_times_replicas_times_24_hours(void **state) {
  (void)state;
  int64_t hold;
  assert_true(cycle_full_hold(&terms, DAY_S, &hold));
  assert_int_equal(hold, 76800000);
  cycle_terms eight = {.rate_micros_per_gpu_hour = 2500000, .gpu_count = 8, .total_replicas = 2};
  assert_true(cycle_full_hold(&eight, DAY_S, &hold));
  assert_int_equal(hold, INT64_C(960000000));
}

static void test_largest_terms_do_not_overflow(void **state) {
  (void)state;
  cycle_terms t = {BILLING_RATE_MAX_MICROS, BILLING_GPUS_MAX, BILLING_REPLICAS_MAX};
  int64_t hold;
  int64_t burn;
  assert_true(cycle_burn(&t, &burn));
  // A year's hold of them does not fit, and is told rather than wrapped.
  assert_false(cycle_full_hold(&t, 31536000, &hold));
}

static void test_balance_at_or_above_the_full_hold_gives_a_full_one(void **state) {
  (void)state;
  cycle_next n;
  assert_true(cycle_next_hold(&terms, 76800000, T0, DAY_S, &n));
  assert_int_equal(n.kind, CYCLE_NEXT_FULL);
  assert_int_equal(n.amount_micros, 76800000);
  assert_int_equal(n.expires_at_us, T0 + DAY_S * S);
}

static void test_balance_below_the_full_hold_gives_a_partial_one_of_all_of_it(void **state) {
  (void)state;
  cycle_next n;
  assert_true(cycle_next_hold(&terms, 76799999, T0, DAY_S, &n));
  assert_int_equal(n.kind, CYCLE_NEXT_PARTIAL);
  assert_int_equal(n.amount_micros, 76799999);
  assert_int_equal(n.expires_at_us, T0 + 86399 * S);
}

static void test_72_dollars_against_307_60_cover_5_6_hours(void **state) {
  (void)state;
  // 307.60 a day = 12.816666 an hour: the nearest price with two replicas of one GPU is 6.408333.
  cycle_terms t = {.rate_micros_per_gpu_hour = 6408333, .gpu_count = 1, .total_replicas = 2};
  int64_t covers_s = cycle_covers_s(&t, 72000000);
  assert_in_range(covers_s, 20160, 20519);  // 5.6 to 5.7 hours
}

static void test_partial_hold_of_less_than_a_minute_counts_as_zero(void **state) {
  (void)state;
  cycle_next n;
  int64_t minute = 3200000 / 60 + 1;  // 60 s at 3.20 an hour, rounded up
  assert_true(cycle_next_hold(&terms, minute, T0, DAY_S, &n));
  assert_int_equal(n.kind, CYCLE_NEXT_PARTIAL);
  assert_int_equal(n.expires_at_us, T0 + 60 * S);
  assert_true(cycle_next_hold(&terms, minute - 1, T0, DAY_S, &n));
  assert_int_equal(n.kind, CYCLE_NEXT_ZERO);
  assert_int_equal(n.amount_micros, 0);
}

static void test_free_gpu_type_always_gets_its_hold_of_zero(void **state) {
  (void)state;
  cycle_terms t = {.rate_micros_per_gpu_hour = 0, .gpu_count = 1, .total_replicas = 2};
  cycle_next n;
  assert_true(cycle_next_hold(&t, 0, T0, 60, &n));
  assert_int_equal(n.kind, CYCLE_NEXT_FULL);
  assert_int_equal(n.amount_micros, 0);
}

static void test_shortest_cycle_is_held_in_full(void **state) {
  (void)state;
  cycle_next n;
  assert_true(cycle_next_hold(&terms, 1000000, T0, 60, &n));
  assert_int_equal(n.kind, CYCLE_NEXT_FULL);
  assert_int_equal(n.amount_micros, 53333);  // 120 replica-seconds at 1.60 an hour
}

// ---- seconds ----

static void test_interval_start_is_rounded_up_and_end_down(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0 + 1, T0 + 3 * S + 999999}};
  assert_int_equal(cycle_seconds(v, 1, T0, T0 + 10 * S), 2);
}

static void test_open_interval_counts_up_to_the_bound(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, 0}};
  assert_int_equal(cycle_seconds(v, 1, T0, T0 + 10 * S + 5), 10);
}

static void test_overlapping_intervals_of_a_replica_count_once(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, T0 + 10 * S}, {1, T0 + 5 * S, T0 + 15 * S}, {1, T0 + 6 * S, T0 + 7 * S}};
  assert_int_equal(cycle_seconds(v, 3, T0, T0 + 100 * S), 15);
}

static void test_replicas_count_side_by_side(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, T0 + 10 * S}, {2, T0, T0 + 10 * S}};
  assert_int_equal(cycle_seconds(v, 2, T0, T0 + 100 * S), 20);
}

static void test_interval_before_settled_until_is_not_charged_again(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, T0 + 10 * S}};
  assert_int_equal(cycle_seconds(v, 1, T0 + 4 * S, T0 + 100 * S), 6);
  assert_int_equal(cycle_seconds(v, 1, T0 + 10 * S, T0 + 100 * S), 0);
}

// ---- settlement ----

static void test_hold_is_refunded_when_stopped_after_one_hour(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, T0 + HOUR}, {2, T0, T0 + HOUR}};
  cycle_hold hold = full_hold();
  cycle_reading r = stopped(v, 2, T0 + HOUR);
  cycle_settlement s;
  assert_true(cycle_settle(&hold, &r, hold.expires_at_us, &s));
  assert_int_equal(s.charge_micros, 3200000);
  assert_int_equal(s.refund_micros, 73600000);
  assert_int_equal(s.seconds, 7200);
}

static void test_charging_ends_at_the_stop_request_not_when_the_replica_is_gone(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, T0 + HOUR + 30 * S}};
  cycle_hold hold = full_hold();
  cycle_reading r = stopped(v, 1, T0 + HOUR);
  cycle_settlement s;
  assert_true(cycle_settle(&hold, &r, hold.expires_at_us, &s));
  assert_int_equal(s.seconds, 3600);
}

static void test_time_beyond_the_watermark_is_not_charged(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, 0}};
  cycle_hold hold = full_hold();
  cycle_reading r = reading(v, 1, T0 + 1000 * S);
  cycle_settlement s;
  assert_true(cycle_settle(&hold, &r, hold.expires_at_us, &s));
  assert_int_equal(s.seconds, 1000);
  assert_int_equal(s.settled_until_us, T0 + 1000 * S);
}

static void test_time_proved_later_is_charged_in_the_next_settlement(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, 0}};
  cycle_hold hold = full_hold();
  cycle_reading r = reading(v, 1, hold.expires_at_us - 100 * S);
  cycle_settlement s;
  assert_true(cycle_settle(&hold, &r, hold.expires_at_us, &s));
  assert_int_equal(s.seconds, DAY_S - 100);
  cycle_hold next = hold;
  next.started_at_us = hold.expires_at_us;
  next.expires_at_us = hold.expires_at_us + DAY_S * S;
  next.settled_until_us = s.settled_until_us;
  next.seconds_before = s.seconds;
  r.observed_until_us = next.expires_at_us;
  assert_true(cycle_settle(&next, &r, next.expires_at_us, &s));
  assert_int_equal(s.seconds, DAY_S + 100);
}

static void test_charge_never_exceeds_the_hold(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, 0}, {2, T0, 0}};
  cycle_hold hold = full_hold();
  hold.amount_micros = 1000000;
  cycle_reading r = reading(v, 2, hold.expires_at_us);
  cycle_settlement s;
  assert_true(cycle_settle(&hold, &r, hold.expires_at_us, &s));
  assert_int_equal(s.charge_micros, 1000000);
  assert_int_equal(s.refund_micros, 0);
}

static void test_watermark_that_went_back_charges_nothing_and_moves_nothing(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, 0}};
  cycle_hold hold = full_hold();
  hold.settled_until_us = T0 + 500 * S;
  cycle_reading r = reading(v, 1, T0 + 400 * S);
  cycle_settlement s;
  assert_true(cycle_settle(&hold, &r, hold.expires_at_us, &s));
  assert_int_equal(s.seconds, 0);
  assert_int_equal(s.settled_until_us, T0 + 500 * S);
}

static void test_rounding_is_carried_over_cycles(void **state) {
  (void)state;
  // One replica-second of this price costs a third of a micro-dollar: over many one-second cycles nothing may be lost.
  cycle_terms t = {.rate_micros_per_gpu_hour = 1200, .gpu_count = 1, .total_replicas = 1};
  int64_t total = 0;
  for (int64_t n = 0; n < 3600; n++) {
    cycle_interval v[] = {{1, T0, 0}};
    cycle_hold hold = {.terms = t,
                       .amount_micros = 1000,
                       .started_at_us = T0 + n * S,
                       .expires_at_us = T0 + (n + 1) * S,
                       .settled_until_us = T0 + n * S,
                       .seconds_before = n};
    cycle_reading r = reading(v, 1, T0 + 4000 * S);
    cycle_settlement s;
    assert_true(cycle_settle(&hold, &r, hold.expires_at_us, &s));
    assert_int_equal(s.seconds, 1);
    total += s.charge_micros;
  }
  assert_int_equal(total, 1200);
}

// ---- judgement ----

static cycle_action judge(const cycle_hold *hold, const cycle_reading *r, int64_t now_us, int64_t available,
                          int64_t wait_until_us) {
  return cycle_judge(hold, r, now_us, available, wait_until_us).action;
}

static void test_running_instance_keeps_its_hold_until_the_cycle_ends(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, 0}};
  cycle_hold hold = full_hold();
  cycle_reading r = reading(v, 1, hold.expires_at_us);
  assert_int_equal(judge(&hold, &r, hold.expires_at_us - 1, 100, INT64_MAX), CYCLE_KEEP);
  cycle_verdict v2 = cycle_judge(&hold, &r, hold.expires_at_us, 100, INT64_MAX);
  assert_int_equal(v2.action, CYCLE_RENEW);
  assert_int_equal(v2.ends_at_us, hold.expires_at_us);
}

static void test_late_worker_ends_the_cycle_where_it_ended_not_now(void **state) {
  (void)state;
  cycle_hold hold = full_hold();
  cycle_reading r = reading(NULL, 0, T0 + 10 * DAY_S * S);
  cycle_verdict v = cycle_judge(&hold, &r, T0 + 10 * DAY_S * S, 0, INT64_MAX);
  assert_int_equal(v.action, CYCLE_RENEW);
  assert_int_equal(v.ends_at_us, hold.expires_at_us);
}

static void test_due_cycle_waits_for_a_lagging_watermark_but_not_for_ever(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, 0}};
  cycle_hold hold = full_hold();
  cycle_reading r = reading(v, 1, hold.expires_at_us - 1);
  int64_t now = hold.expires_at_us + 5 * S;
  assert_int_equal(judge(&hold, &r, now, 0, INT64_MAX), CYCLE_WAIT);
  assert_int_equal(judge(&hold, &r, now, 0, now + 1), CYCLE_WAIT);
  assert_int_equal(judge(&hold, &r, now, 0, now), CYCLE_RENEW);
}

static void test_stopped_instance_is_settled_once_its_reading_is_complete(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, T0 + HOUR}};
  cycle_hold hold = full_hold();
  cycle_reading r = stopped(v, 1, T0 + HOUR);
  assert_int_equal(judge(&hold, &r, T0 + HOUR, 0, INT64_MAX), CYCLE_FINISH);
  r.complete = false;
  assert_int_equal(judge(&hold, &r, T0 + HOUR, 0, INT64_MAX), CYCLE_KEEP);
}

static void test_instance_stopped_before_the_cycle_end_gets_no_further_hold_while_evidence_is_missing(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, 0}};
  cycle_hold hold = full_hold();
  cycle_reading r = stopped(v, 1, hold.expires_at_us - S);
  r.complete = false;
  assert_int_equal(judge(&hold, &r, hold.expires_at_us + HOUR, 100000000, 0), CYCLE_KEEP);
}

static void test_failed_instance_gets_no_further_hold_while_evidence_is_missing(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, 0}};
  cycle_hold hold = full_hold();
  cycle_reading r = reading(v, 1, hold.expires_at_us);
  r.over = true;
  assert_int_equal(judge(&hold, &r, hold.expires_at_us + HOUR, 100000000, 0), CYCLE_KEEP);
}

static void test_instance_stopped_after_the_cycle_end_is_caught_up_first(void **state) {
  (void)state;
  cycle_hold hold = full_hold();
  cycle_interval v[] = {{1, T0, hold.expires_at_us + HOUR}};
  cycle_reading r = stopped(v, 1, hold.expires_at_us + HOUR);
  assert_int_equal(judge(&hold, &r, hold.expires_at_us + 2 * HOUR, 0, INT64_MAX), CYCLE_RENEW);
}

static void test_failed_instance_settles_like_a_stop(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, T0 + HOUR}};
  cycle_hold hold = full_hold();
  cycle_reading r = reading(v, 1, T0 + HOUR);
  r.over = true;
  r.complete = true;
  assert_int_equal(judge(&hold, &r, T0 + HOUR, 0, INT64_MAX), CYCLE_FINISH);
}

static void test_instance_that_never_became_ready_gets_everything_back(void **state) {
  (void)state;
  cycle_hold hold = full_hold();
  cycle_reading r = stopped(NULL, 0, T0 + HOUR);
  cycle_settlement s;
  assert_int_equal(judge(&hold, &r, T0 + HOUR, 0, INT64_MAX), CYCLE_FINISH);
  assert_true(cycle_settle(&hold, &r, hold.expires_at_us, &s));
  assert_int_equal(s.refund_micros, hold.amount_micros);
}

static void test_hold_without_an_instance_is_closed_after_a_minute(void **state) {
  (void)state;
  cycle_hold hold = full_hold();
  cycle_reading r = {.known = false};
  assert_int_equal(judge(&hold, &r, T0 + 59 * S, 0, INT64_MAX), CYCLE_KEEP);
  assert_int_equal(judge(&hold, &r, T0 + 60 * S, 0, INT64_MAX), CYCLE_CLOSE);
}

static cycle_hold partial_hold(void) {
  cycle_hold hold = full_hold();
  hold.partial = true;
  hold.amount_micros = 3200000;  // one hour of both replicas
  hold.expires_at_us = T0 + HOUR;
  return hold;
}

static void test_top_up_during_a_partial_hold_ends_the_cycle_where_evidence_ends(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, 0}, {2, T0, 0}};
  cycle_hold hold = partial_hold();
  cycle_reading r = reading(v, 2, T0 + 600 * S + 123);
  cycle_verdict verdict = cycle_judge(&hold, &r, T0 + 605 * S, 10000000, INT64_MAX);
  assert_int_equal(verdict.action, CYCLE_EXTEND);
  assert_int_equal(verdict.ends_at_us, T0 + 600 * S);
}

static void test_partial_hold_without_new_credit_runs_to_its_end(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, 0}, {2, T0, 0}};
  cycle_hold hold = partial_hold();
  cycle_reading r = reading(v, 2, T0 + 600 * S);
  assert_int_equal(judge(&hold, &r, T0 + 605 * S, 0, INT64_MAX), CYCLE_KEEP);
}

static void test_a_cent_in_the_last_minute_does_not_end_a_run_that_is_paid(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, 0}, {2, T0, 0}};
  cycle_hold hold = partial_hold();
  cycle_reading r = reading(v, 2, T0 + 3570 * S);
  // 30 s are left; a cent brings 11 s more: together less than what counts as zero.
  assert_int_equal(judge(&hold, &r, T0 + 3571 * S, 10000, INT64_MAX), CYCLE_KEEP);
  assert_int_equal(judge(&hold, &r, T0 + 3571 * S, 1000000, INT64_MAX), CYCLE_EXTEND);
}

static void test_credit_for_less_than_a_second_does_not_end_a_partial_hold(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, 0}, {2, T0, 0}};
  cycle_hold hold = partial_hold();
  cycle_reading r = reading(v, 2, T0 + 600 * S);
  assert_int_equal(judge(&hold, &r, T0 + 605 * S, 1, INT64_MAX), CYCLE_KEEP);
  assert_int_equal(judge(&hold, &r, T0 + 605 * S, 889, INT64_MAX), CYCLE_EXTEND);  // 888.9 a second
}

static void test_full_hold_is_never_ended_by_a_top_up(void **state) {
  (void)state;
  cycle_interval v[] = {{1, T0, 0}};
  cycle_hold hold = full_hold();
  cycle_reading r = reading(v, 1, T0 + HOUR);
  assert_int_equal(judge(&hold, &r, T0 + HOUR, 1000000000, INT64_MAX), CYCLE_KEEP);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_full_hold_is_rate_times_gpus_times_replicas_times_24_hours),
      cmocka_unit_test(test_largest_terms_do_not_overflow),
      cmocka_unit_test(test_balance_at_or_above_the_full_hold_gives_a_full_one),
      cmocka_unit_test(test_balance_below_the_full_hold_gives_a_partial_one_of_all_of_it),
      cmocka_unit_test(test_72_dollars_against_307_60_cover_5_6_hours),
      cmocka_unit_test(test_partial_hold_of_less_than_a_minute_counts_as_zero),
      cmocka_unit_test(test_free_gpu_type_always_gets_its_hold_of_zero),
      cmocka_unit_test(test_shortest_cycle_is_held_in_full),
      cmocka_unit_test(test_interval_start_is_rounded_up_and_end_down),
      cmocka_unit_test(test_open_interval_counts_up_to_the_bound),
      cmocka_unit_test(test_overlapping_intervals_of_a_replica_count_once),
      cmocka_unit_test(test_replicas_count_side_by_side),
      cmocka_unit_test(test_interval_before_settled_until_is_not_charged_again),
      cmocka_unit_test(test_hold_is_refunded_when_stopped_after_one_hour),
      cmocka_unit_test(test_charging_ends_at_the_stop_request_not_when_the_replica_is_gone),
      cmocka_unit_test(test_time_beyond_the_watermark_is_not_charged),
      cmocka_unit_test(test_time_proved_later_is_charged_in_the_next_settlement),
      cmocka_unit_test(test_charge_never_exceeds_the_hold),
      cmocka_unit_test(test_watermark_that_went_back_charges_nothing_and_moves_nothing),
      cmocka_unit_test(test_rounding_is_carried_over_cycles),
      cmocka_unit_test(test_running_instance_keeps_its_hold_until_the_cycle_ends),
      cmocka_unit_test(test_late_worker_ends_the_cycle_where_it_ended_not_now),
      cmocka_unit_test(test_due_cycle_waits_for_a_lagging_watermark_but_not_for_ever),
      cmocka_unit_test(test_stopped_instance_is_settled_once_its_reading_is_complete),
      cmocka_unit_test(test_instance_stopped_before_the_cycle_end_gets_no_further_hold_while_evidence_is_missing),
      cmocka_unit_test(test_instance_stopped_after_the_cycle_end_is_caught_up_first),
      cmocka_unit_test(test_failed_instance_settles_like_a_stop),
      cmocka_unit_test(test_instance_that_never_became_ready_gets_everything_back),
      cmocka_unit_test(test_hold_without_an_instance_is_closed_after_a_minute),
      cmocka_unit_test(test_top_up_during_a_partial_hold_ends_the_cycle_where_evidence_ends),
      cmocka_unit_test(test_partial_hold_without_new_credit_runs_to_its_end),
      cmocka_unit_test(test_a_cent_in_the_last_minute_does_not_end_a_run_that_is_paid),
      cmocka_unit_test(test_credit_for_less_than_a_second_does_not_end_a_partial_hold),
      cmocka_unit_test(test_failed_instance_gets_no_further_hold_while_evidence_is_missing),
      cmocka_unit_test(test_full_hold_is_never_ended_by_a_top_up),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
