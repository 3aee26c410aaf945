// Generated lives of instances against a brute-force oracle that looks at every replica and every second.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
// cmocka wants the four above first
#include <cmocka.h>

#include "billing_limits.h"
#include "cycle.h"
#include "ecolink/money.h"

#define S CYCLE_US_PER_S
#define T0 (INT64_C(1790000000) * S)
#define DAY_S 86400

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

static uint64_t rng_state;
static uint64_t rng(void) {  // splitmix64
  uint64_t z = (rng_state += UINT64_C(0x9E3779B97F4A7C15));
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return z ^ (z >> 31);
}
static int64_t pick(int64_t n) {
  return (int64_t)(rng() % (uint64_t)n);
}

enum { MAX_INTERVALS = 24, REPLICAS = 3, SPAN_S = 600 };

static size_t generate(cycle_interval *v) {
  size_t n = (size_t)pick(MAX_INTERVALS);
  for (size_t i = 0; i < n; i++) {
    int64_t start = T0 + pick(SPAN_S * S);
    int64_t end = pick(6) == 0 ? 0 : start + pick(SPAN_S * S / 4);
    if (pick(3) == 0) {  // whole seconds are the edge
      start -= start % S;
      end -= end % S;
    }
    v[i] = (cycle_interval){(int32_t)(1 + pick(REPLICAS)), start, end};
  }
  return n;
}

// Counts each replica's seconds one by one.
static int64_t oracle_seconds(const cycle_interval *v, size_t n, int64_t from_us, int64_t until_us) {
  int64_t total = 0;
  for (int32_t replica = 1; replica <= REPLICAS; replica++) {
    for (int64_t second = T0 / S; second < T0 / S + 2 * SPAN_S; second++) {
      int64_t begin = second * S;
      int64_t end = begin + S;
      if (begin < from_us || end > until_us) {
        continue;
      }
      for (size_t i = 0; i < n; i++) {
        if (v[i].replica_id == replica && v[i].started_at_us <= begin &&
            (v[i].ended_at_us == 0 || v[i].ended_at_us >= end)) {
          total++;
          break;
        }
      }
    }
  }
  return total;
}

static void test_seconds_agree_with_the_oracle_on_generated_intervals(void **state) {
  (void)state;
  rng_state = 1;
  for (int round = 0; round < 400; round++) {
    cycle_interval v[MAX_INTERVALS];
    size_t n = generate(v);
    int64_t from = T0 + pick(SPAN_S) * S;
    int64_t until = from + pick(SPAN_S * S);
    int64_t expected = oracle_seconds(v, n, from, until);
    cycle_sort(v, n);
    assert_int_equal(cycle_seconds(v, n, from, until), expected);
  }
}

// Runs a whole life in random cycles, watermark lagging at random, and compares the sums with one look at everything.
static void run_life(bool ample) {
  cycle_interval v[MAX_INTERVALS];
  size_t n = generate(v);
  int64_t stop = T0 + (1 + pick(SPAN_S)) * S + pick(S);
  for (size_t i = 0; i < n; i++) {
    if (v[i].ended_at_us == 0) {
      v[i].ended_at_us = T0 + 2 * SPAN_S * S;
    }
  }
  cycle_terms t = {
      .rate_micros_per_gpu_hour = 1 + pick(5000000), .gpu_count = (int32_t)(1 + pick(8)), .total_replicas = REPLICAS};
  int64_t cycle_s = 60 + pick(200);
  cycle_hold hold = {.terms = t, .started_at_us = T0, .expires_at_us = T0 + cycle_s * S, .settled_until_us = T0};
  int64_t charged = 0;
  int64_t seconds = 0;
  for (int guard = 0; guard < 100; guard++) {
    hold.amount_micros = ample ? INT64_C(1000000000000) : pick(2000000);
    bool last = hold.expires_at_us >= stop;
    cycle_reading r = last ? stopped(v, n, stop) : reading(v, n, hold.expires_at_us - pick(90 * S));
    cycle_settlement s;
    assert_true(cycle_settle(&hold, &r, hold.expires_at_us, &s));
    assert_true(s.charge_micros >= 0 && s.charge_micros <= hold.amount_micros);
    assert_int_equal(s.charge_micros + s.refund_micros, hold.amount_micros);
    assert_true(s.settled_until_us >= hold.settled_until_us);
    assert_int_equal(s.settled_until_us % S, 0);
    charged += s.charge_micros;
    seconds += s.seconds;
    hold.seconds_before += s.seconds;
    hold.settled_until_us = s.settled_until_us;
    if (last) {
      break;
    }
    hold.started_at_us = hold.expires_at_us;
    hold.expires_at_us += cycle_s * S;
  }
  int64_t expected_s = oracle_seconds(v, n, T0, stop);
  int64_t expected;
  assert_true(eco_money_charge(expected_s, t.rate_micros_per_gpu_hour, t.gpu_count, &expected));
  assert_int_equal(seconds, expected_s);
  if (ample) {
    assert_int_equal(charged, expected);  // to the micro-dollar, however the life was cut into cycles
  } else {
    assert_true(charged <= expected);
  }
}

static void test_generated_lives_cost_what_the_oracle_says_however_they_are_cut(void **state) {
  (void)state;
  rng_state = 2;
  for (int i = 0; i < 300; i++) {
    run_life(true);
  }
}

static void test_generated_lives_on_short_holds_never_cost_more(void **state) {
  (void)state;
  rng_state = 3;
  for (int i = 0; i < 300; i++) {
    run_life(false);
  }
}

static void test_generated_next_holds_keep_their_promises(void **state) {
  (void)state;
  rng_state = 4;
  for (int i = 0; i < 5000; i++) {
    cycle_terms t = {.rate_micros_per_gpu_hour = pick(20000000),
                     .gpu_count = (int32_t)(1 + pick(8)),
                     .total_replicas = (int32_t)(1 + pick(4))};
    int64_t available = pick(i % 2 == 0 ? 1000000 : 2000000000);
    int64_t cycle_s = 60 + pick(2 * DAY_S);
    int64_t full;
    cycle_next n;
    assert_true(cycle_full_hold(&t, cycle_s, &full));
    assert_true(cycle_next_hold(&t, available, T0, cycle_s, &n));
    assert_true(n.amount_micros <= available);
    int64_t lasts_s = (n.expires_at_us - T0) / S;
    int64_t burnt;
    assert_true(eco_money_charge(lasts_s * t.total_replicas, t.rate_micros_per_gpu_hour, t.gpu_count, &burnt));
    switch (n.kind) {
      case CYCLE_NEXT_FULL:
        assert_int_equal(n.amount_micros, full);
        assert_int_equal(lasts_s, cycle_s);
        break;
      case CYCLE_NEXT_PARTIAL:
        assert_int_equal(n.amount_micros, available);
        assert_true(lasts_s >= BILLING_MIN_PARTIAL_S && lasts_s <= cycle_s);
        assert_true(burnt <= n.amount_micros + 1);  // the rounding of one charge
        break;
      case CYCLE_NEXT_ZERO:
        assert_true(available < full);
        assert_int_equal(lasts_s, 0);
        break;
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_seconds_agree_with_the_oracle_on_generated_intervals),
      cmocka_unit_test(test_generated_lives_cost_what_the_oracle_says_however_they_are_cut),
      cmocka_unit_test(test_generated_lives_on_short_holds_never_cost_more),
      cmocka_unit_test(test_generated_next_holds_keep_their_promises),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
