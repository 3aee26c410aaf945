// The verdict on a replica: a table of histories, and generated ones against a reference that re-reads the whole
// history.

#include "probe_client.h"

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
// clang-format on
#include "probe_judge.h"

#define S INT64_C(1000000)
static const probe_rules RULES = {.unhealthy_after = 3, .healthy_after = 2, .passive_window_us = 10 * S};

enum { UNKNOWN = 0, GOOD = 1, BAD = 2 };

typedef struct history {
  const char *what;
  const char
      *seen;  // one letter per 2 s: o ok, x failed, - nothing; R report 5/0, r report 1/0, m report 5/50, M report 9/1
  const char *then;  // state after each: u not judged, h healthy, b unhealthy
} history;

static const history HISTORIES[] = {
    {"the first success acquits", "o", "h"},
    {"two failures in a row are forgiven", "oxxo", "hhhh"},
    {"three failures in a row condemn", "oxxx", "hhhb"},
    {"a replica that never answered is condemned after three", "xxx", "uub"},
    {"one success does not acquit the condemned", "xxxo", "uubb"},
    {"two successes in a row acquit", "xxxoo", "uubbh"},
    {"a failure between begins the successes anew", "xxxoxoo", "uubbbbh"},
    {"flapping below the threshold changes nothing", "oxoxxoxxo", "hhhhhhhhh"},
    {"failing requests condemn a replica whose health path answers", "oRo", "hbb"},
    {"it is acquitted when the window has passed", "oRooooooo", "hbbbbbbhh"},
    {"nine of ten failing requests condemn", "oM", "hb"},
    {"a bad minute among many successes condemns nobody", "ommmm", "hhhhh"},
    {"one failed request proves nothing", "oro", "hhh"},
    {"one failed request counts as a failed probe", "oxrx", "hhhb"},
    {"three lonely failed requests within a window condemn", "ororor", "hhhhhb"},
    {"lonely failed requests far apart do not", "oroooooororooooo", "hhhhhhhhhhhhhhhh"},
};

static bool step(probe_state *s, char seen, int64_t now_us) {
  probe_observation o = {.kind = PROBE_REPORTED, .reason = "test"};
  switch (seen) {
    case 'o':
      o.kind = PROBE_OK;
      break;
    case 'x':
      o.kind = PROBE_FAILED;
      break;
    case 'R':
      o.failures = 5;
      break;
    case 'r':
      o.failures = 1;
      break;
    case 'm':
      o.failures = 5;
      o.successes = 50;
      break;
    case 'M':
      o.failures = 9;
      o.successes = 1;
      break;
    default:
      return false;
  }
  return probe_judge(&RULES, s, &o, now_us);
}

static void test_histories_end_in_their_verdicts(void **state) {
  (void)state;
  for (size_t h = 0; h < sizeof HISTORIES / sizeof HISTORIES[0]; h++) {
    probe_state s;
    probe_state_init(&s, ECOLINK__V1__HEALTH_STATE__HEALTH_STATE_UNSPECIFIED, "", 0);
    for (size_t i = 0; HISTORIES[h].seen[i] != '\0'; i++) {
      Ecolink__V1__HealthState before = s.state;
      int64_t now_us = (int64_t)(i + 1) * 2 * S;
      bool changed = step(&s, HISTORIES[h].seen[i], now_us);
      assert_int_equal(changed, s.state != before);
      if (changed) {
        assert_int_equal(s.since_us, now_us);
        assert_true(s.reason[0] != '\0');
      }
      if ("uhb"[s.state] != HISTORIES[h].then[i]) {
        fail_msg("%s: after %.*s the state is %d", HISTORIES[h].what, (int)i + 1, HISTORIES[h].seen, (int)s.state);
      }
    }
  }
}

// Probes alone, judged from the whole history each time.
static int reference(const probe_rules *rules, const char *seen, size_t n) {
  int verdict = UNKNOWN;
  for (size_t end = 1; end <= n; end++) {
    size_t run = 0;
    while (run < end && seen[end - 1 - run] == seen[end - 1]) {
      run++;
    }
    if (seen[end - 1] == 'x' && run >= (size_t)rules->unhealthy_after) {
      verdict = BAD;
    } else if (seen[end - 1] == 'o' && (verdict == UNKNOWN || run >= (size_t)rules->healthy_after)) {
      verdict = GOOD;
    }
  }
  return verdict;
}

static void test_generated_probes_agree_with_the_whole_history(void **state) {
  (void)state;
  uint64_t seed = 1;
  for (int round = 0; round < 4000; round++) {
    char seen[41] = "";
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    probe_rules rules = {.unhealthy_after = 1 + (int)((seed >> 60) & 3),
                         .healthy_after = 1 + (int)((seed >> 58) & 3),
                         .passive_window_us = 10 * S};
    probe_state s;
    probe_state_init(&s, ECOLINK__V1__HEALTH_STATE__HEALTH_STATE_UNSPECIFIED, "", 0);
    for (size_t i = 0; i < 40; i++) {
      seed = seed * 6364136223846793005U + 1442695040888963407U;
      seen[i] = (seed >> 62) < 2 ? 'o' : 'x';
      const probe_observation o = {.kind = seen[i] == 'o' ? PROBE_OK : PROBE_FAILED, .reason = "x"};
      (void)probe_judge(&rules, &s, &o, (int64_t)i * S);
      if ((int)s.state != reference(&rules, seen, i + 1)) {
        fail_msg("%s with %d and %d: %d", seen, rules.unhealthy_after, rules.healthy_after, (int)s.state);
      }
      assert_true(s.failures == 0 || s.successes == 0);
    }
  }
}

static void test_a_known_verdict_is_taken_over(void **state) {
  (void)state;
  probe_state s;
  probe_state_init(&s, ECOLINK__V1__HEALTH_STATE__HEALTH_STATE_UNHEALTHY, "health path answers 500", 7);
  assert_string_equal(s.reason, "health path answers 500");
  assert_false(step(&s, 'o', 2 * S));
  assert_int_equal(s.since_us, 7);
  assert_true(step(&s, 'o', 4 * S));
  assert_int_equal(s.state, ECOLINK__V1__HEALTH_STATE__HEALTH_STATE_HEALTHY);
}

static void test_200_to_399_is_healthy(void **state) {
  (void)state;
  for (long status = 0; status < 700; status++) {
    assert_int_equal(probe_status_ok(status), status >= 200 && status < 400);
  }
}

static void test_urls_are_built_from_safe_parts_only(void **state) {
  (void)state;
  const struct {
    probe_target target;
    const char *url;
  } cases[] = {
      {{"127.0.0.1", 8000, "/health", ""}, "http://127.0.0.1:8000/health"},
      {{"::1", 80, "", ""}, "http://[::1]:80/"},
      {{"pod-1.svc", 65535, "/a?b=c%20d", ""}, "http://pod-1.svc:65535/a?b=c%20d"},
      {{"", 80, "/", ""}, NULL},
      {{"a", 0, "/", ""}, NULL},
      {{"a", 65536, "/", ""}, NULL},
      {{"a@evil", 80, "/", ""}, NULL},
      {{"a/b", 80, "/", ""}, NULL},
      {{"a", 80, "health", ""}, NULL},
      {{"a", 80, "/a b", ""}, NULL},
      {{"a", 80, "/a\r\nHost: b", ""}, NULL},
      {{"a", 80, "/a#b", ""}, NULL},
      {{"a", 80, "/\xc3\xa9", ""}, NULL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char url[HEALTH_URL_MAX];
    bool ok = probe_url(&cases[i].target, url);
    assert_int_equal(ok, cases[i].url != NULL);
    if (ok) {
      assert_string_equal(url, cases[i].url);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_histories_end_in_their_verdicts),
      cmocka_unit_test(test_generated_probes_agree_with_the_whole_history),
      cmocka_unit_test(test_a_known_verdict_is_taken_over),
      cmocka_unit_test(test_200_to_399_is_healthy),
      cmocka_unit_test(test_urls_are_built_from_safe_parts_only),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
