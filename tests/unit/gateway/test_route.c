// Choice of replica, ejection, latency and the rate limit, over generated states.
#include <stdlib.h>

#include "cmocka_all.h"
#include "gw_limits.h"
#include "ratelimit.h"
#include "route.h"

static uint64_t random64(void) {
  return ((uint64_t)rand() << 33) ^ ((uint64_t)rand() << 11) ^ (uint64_t)rand();
}

static void test_the_choice_obeys_every_rule_in_generated_states(void **state) {
  (void)state;
  srand(1);
  for (int round = 0; round < 200000; round++) {
    gw_candidate c[GW_REPLICAS_MAX];
    size_t n = (size_t)rand() % 6;
    bool all_condemned = n > 0;
    for (size_t i = 0; i < n; i++) {
      c[i] = (gw_candidate){.tried = rand() % 4 == 0,
                            .condemned = rand() % 2,
                            .reached = rand() % 2,
                            .ejected = rand() % 3 == 0,
                            .outstanding = (uint32_t)rand() % 5,
                            .latency_us = rand() % 3 ? (double)(rand() % 1000 + 1) : 0};
      all_condemned = all_condemned && c[i].condemned;
    }
    int got = gw_route_choose(c, n, random64());
    bool usable = false;
    bool unejected = false;
    for (size_t i = 0; i < n; i++) {
      bool ok = !c[i].tried && (all_condemned ? c[i].reached : !c[i].condemned);
      usable = usable || ok;
      unejected = unejected || (ok && !c[i].ejected);
    }
    assert_int_equal(got >= 0, usable);
    if (got >= 0) {
      assert_true((size_t)got < n && !c[got].tried);
      assert_true(all_condemned ? c[got].reached : !c[got].condemned);
      assert_true(!c[got].ejected || !unejected);  // never the last one, but never before a better one
    }
  }
}

static void test_of_two_the_one_with_less_outstanding_times_latency_wins(void **state) {
  (void)state;
  for (int round = 0; round < 1000; round++) {
    gw_candidate c[2] = {{.outstanding = 0, .latency_us = 1000}, {.outstanding = 3, .latency_us = 300}};
    assert_int_equal(gw_route_choose(c, 2, random64()), 0);
    c[0].outstanding = 1;
    assert_int_equal(gw_route_choose(c, 2, random64()), 1);
    c[1].latency_us = 0;  // unknown: as fast as the other, so only the queue counts
    assert_int_equal(gw_route_choose(c, 2, random64()), 0);
  }
}

static void test_equal_replicas_share_evenly(void **state) {
  (void)state;
  unsigned hits[4] = {0};
  gw_candidate c[4] = {{.latency_us = 5}, {.latency_us = 5}, {.latency_us = 5}, {.latency_us = 5}};
  for (int round = 0; round < 40000; round++) {
    hits[gw_route_choose(c, 4, random64())]++;
  }
  for (int i = 0; i < 4; i++) {
    assert_in_range(hits[i], 9300, 10700);
  }
}

static void test_ejection_backs_off_and_is_forgiven(void **state) {
  (void)state;
  gw_outlier o = {0};
  assert_false(gw_outlier_failed(&o, 3, 100));
  assert_false(gw_outlier_failed(&o, 3, 101));
  assert_true(gw_outlier_failed(&o, 3, 102));
  assert_true(gw_outlier_ejected(&o, 1101));
  assert_false(gw_outlier_ejected(&o, 1102));
  uint64_t now = 1102;
  uint64_t expected = 2000;
  for (int i = 0; i < 10; i++) {
    assert_true(gw_outlier_failed(&o, 3, now));
    assert_int_equal(o.until_ms, now + expected);
    now = o.until_ms;
    expected = expected * 2 > 30000 ? 30000 : expected * 2;
  }
  gw_outlier_succeeded(&o);
  assert_false(gw_outlier_failed(&o, 3, now));
  assert_false(gw_outlier_ejected(&o, now));
}

static void test_latency_follows_and_fades(void **state) {
  (void)state;
  gw_ewma e = {0};
  gw_ewma_add(&e, 1000, 5);
  assert_true(e.value_us == 1000);
  gw_ewma_add(&e, 2000, 5);
  assert_true(e.value_us > 1050 && e.value_us < 1150);
  gw_ewma_add(&e, 2000, 100000);
  assert_true(e.value_us > 1990);
  assert_true(gw_ewma_read(&e, 110000) < 0.4 * e.value_us && gw_ewma_read(&e, 110000) > 0.3 * e.value_us);
  assert_true(gw_ewma_read(&e, 100000) == e.value_us);
}

static void test_the_limit_allows_a_burst_and_then_an_even_rate(void **state) {
  (void)state;
  for (int32_t limit = 1; limit <= 100000; limit = limit * 3 + 1) {
    int64_t tat = 0;
    int64_t now = 1000000000;
    for (int32_t i = 0; i < limit; i++) {
      gw_limit l = gw_limit_check(tat, now, limit, &tat);
      assert_true(l.allowed);
      assert_int_equal(l.remaining, limit - 1 - i);
    }
    int64_t before = tat;
    gw_limit l = gw_limit_check(tat, now, limit, &tat);
    assert_false(l.allowed);
    assert_true(tat == before && l.remaining == 0 && l.retry_after_s >= 1 && l.retry_after_s <= 60 && l.reset_s >= 1 &&
                l.reset_s <= 60);
    l = gw_limit_check(tat, now + 60000000 / limit, limit, &tat);
    assert_true(l.allowed);
  }
}

static void test_over_any_stretch_no_more_than_burst_plus_rate_pass(void **state) {
  (void)state;
  srand(5);
  for (int round = 0; round < 200; round++) {
    int32_t limit = 1 + rand() % 500;
    int64_t start = 1000000;
    int64_t now = start;
    int64_t tat = 0;
    int64_t passed = 0;
    for (int i = 0; i < 3000; i++) {
      now += rand() % 100000;
      passed += gw_limit_check(tat, now, limit, &tat).allowed;
    }
    assert_true(passed <= limit + (now - start) * limit / 60000000 + limit * 60 / 60000 + 1);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_choice_obeys_every_rule_in_generated_states),
      cmocka_unit_test(test_of_two_the_one_with_less_outstanding_times_latency_wins),
      cmocka_unit_test(test_equal_replicas_share_evenly),
      cmocka_unit_test(test_ejection_backs_off_and_is_forgiven),
      cmocka_unit_test(test_latency_follows_and_fades),
      cmocka_unit_test(test_the_limit_allows_a_burst_and_then_an_even_rate),
      cmocka_unit_test(test_over_any_stretch_no_more_than_burst_plus_rate_pass),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
