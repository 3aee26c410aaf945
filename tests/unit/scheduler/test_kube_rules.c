// The Kubernetes client's pure rules.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "kube_rules.h"

static kube_problem problem_of(int http, const char *body) {
  kube_problem p;
  kube_problem_read(http, body, strlen(body), 0, &p);
  return p;
}

static void test_a_status_object_tells_reason_and_message(void **state) {
  (void)state;
  kube_problem p = problem_of(409,
                              "{\"kind\":\"Status\",\"reason\":\"AlreadyExists\",\"message\":\"deployments \\\"x\\\" "
                              "already exists\",\"code\":409}");
  assert_int_equal(p.reason, KUBE_EXISTS);
  assert_string_equal(p.word, "AlreadyExists");
  assert_string_equal(p.message, "deployments \"x\" already exists");
  eco_status st = kube_problem_status(&p, "creating x");
  assert_int_equal(st.code, ECO_NAME_TAKEN);
  assert_non_null(strstr(st.message, "creating x"));
  assert_non_null(strstr(st.message, "AlreadyExists"));
}

static void test_each_http_status_has_its_reason(void **state) {
  (void)state;
  static const struct {
    int http;
    kube_reason reason;
    bool transient;
  } rows[] = {{400, KUBE_INVALID, false},   {401, KUBE_UNAUTHORIZED, true}, {403, KUBE_FORBIDDEN, false},
              {404, KUBE_NOT_FOUND, false}, {409, KUBE_CONFLICT, true},     {410, KUBE_GONE, true},
              {422, KUBE_INVALID, false},   {429, KUBE_THROTTLED, true},    {500, KUBE_SERVER, true},
              {503, KUBE_SERVER, true},     {504, KUBE_SERVER, true},       {302, KUBE_GARBAGE, true},
              {415, KUBE_INVALID, false}};
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    kube_problem p = problem_of(rows[i].http, "");
    assert_int_equal(p.reason, rows[i].reason);
    assert_int_equal(kube_reason_is_transient(p.reason), rows[i].transient);
    assert_int_equal(eco_code_is_transient(kube_problem_status(&p, "x").code), rows[i].transient);
  }
}

static void test_a_terminating_namespace_is_no_lack_of_rights(void **state) {
  (void)state;
  kube_problem p = problem_of(403,
                              "{\"kind\":\"Status\",\"reason\":\"Forbidden\",\"details\":{\"causes\":[{\"reason\":"
                              "\"NamespaceTerminating\"}]}}");
  assert_int_equal(p.reason, KUBE_TERMINATING);
}

static void test_anything_may_be_the_body_of_an_error(void **state) {
  (void)state;
  srand(4);
  for (int round = 0; round < 2000; round++) {
    char body[600];
    size_t len = (size_t)(rand() % 600);
    for (size_t i = 0; i < len; i++) {
      body[i] = (char)(rand() % 256);
    }
    kube_problem p;
    kube_problem_read(500, body, len, 0, &p);
    assert_int_equal(p.reason, KUBE_SERVER);
    for (const char *c = p.message; *c; c++) {
      assert_true(*c >= ' ' && *c < 0x7f);
    }
  }
}

static void test_retry_after_is_seconds_within_reason(void **state) {
  (void)state;
  static const struct {
    const char *value;
    int seconds;
  } rows[] = {{"1", 1},
              {" 7 \r\n", 7},
              {"0", 0},
              {"60", 60},
              {"61", KUBE_RETRY_AFTER_MAX_S},
              {"999999999999999999999", KUBE_RETRY_AFTER_MAX_S},
              {"-3", 0},
              {"", 0},
              {"3x", 0},
              {"Wed, 21 Oct 2026 07:28:00 GMT", 0}};
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    assert_int_equal(kube_retry_after(rows[i].value, strlen(rows[i].value)), rows[i].seconds);
  }
}

static void test_resource_versions_compare_as_numbers_of_any_length(void **state) {
  (void)state;
  bool ok;
  assert_int_equal(kube_rv_compare("9", "10", &ok), -1);
  assert_true(ok);
  assert_int_equal(kube_rv_compare("0010", "10", &ok), 0);
  assert_int_equal(kube_rv_compare("340282366920938463463374607431768211456", "18446744073709551616", &ok), 1);
  (void)kube_rv_compare("abc", "10", &ok);
  assert_false(ok);
  (void)kube_rv_compare("", "10", &ok);
  assert_false(ok);
}

static void test_back_off_grows_and_is_spread(void **state) {
  (void)state;
  int64_t before = 0;
  for (int failures = 1; failures < 60; failures++) {
    int64_t low = kube_backoff_ms(failures, 0);
    int64_t high = 0;
    for (uint32_t chance = 0; chance < 100000; chance += 7) {
      int64_t ms = kube_backoff_ms(failures, chance * 2654435761U);
      assert_in_range(ms, low, 2 * low);
      high = ms > high ? ms : high;
    }
    assert_true(high > low + low / 2);
    assert_true(low >= before);
    assert_true(high <= KUBE_BACKOFF_MAX_MS);
    before = low;
  }
}

static void test_reads_leave_their_part_of_the_burst_to_writes(void **state) {
  (void)state;
  kube_bucket b;
  kube_bucket_init(&b, 10, 20, 8, 0);
  int reads = 0;
  while (kube_bucket_take(&b, KUBE_READ, 0) == 0) {
    reads++;
  }
  int writes = 0;
  while (kube_bucket_take(&b, KUBE_WRITE, 0) == 0) {
    writes++;
  }
  assert_int_equal(reads, 12);
  assert_int_equal(writes, 8);
}

static void test_the_rate_holds_over_generated_calls(void **state) {
  (void)state;
  srand(5);
  for (int round = 0; round < 200; round++) {
    kube_bucket b;
    int64_t rate = 1 + rand() % 200;
    int64_t burst = 1 + rand() % 100;
    kube_bucket_init(&b, rate, burst, burst / 2, 1000);
    int64_t now = 1000;
    int64_t taken = 0;
    for (int i = 0; i < 500; i++) {
      kube_priority priority = rand() % 2 ? KUBE_READ : KUBE_WRITE;
      int64_t wait = kube_bucket_take(&b, priority, now);
      taken += wait == 0;
      if (wait > 0 && rand() % 2) {
        now += wait;
        int64_t again = kube_bucket_take(&b, priority, now);
        assert_int_equal(again, 0);  // what was promised is kept when nobody comes between
        taken++;
      }
      now += rand() % 20;
      assert_true(taken <= burst + (now - 1000) * rate / 1000 + 1);
    }
  }
}

static void test_nobody_goes_while_the_server_asked_to_wait(void **state) {
  (void)state;
  kube_bucket b;
  kube_bucket_init(&b, 100, 100, 10, 0);
  kube_bucket_block(&b, 5000);
  kube_bucket_block(&b, 3000);  // never shortened
  assert_int_equal(kube_bucket_take(&b, KUBE_WRITE, 1000), 4000);
  assert_int_equal(kube_bucket_take(&b, KUBE_WRITE, 5000), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_status_object_tells_reason_and_message),
      cmocka_unit_test(test_each_http_status_has_its_reason),
      cmocka_unit_test(test_a_terminating_namespace_is_no_lack_of_rights),
      cmocka_unit_test(test_anything_may_be_the_body_of_an_error),
      cmocka_unit_test(test_retry_after_is_seconds_within_reason),
      cmocka_unit_test(test_resource_versions_compare_as_numbers_of_any_length),
      cmocka_unit_test(test_back_off_grows_and_is_spread),
      cmocka_unit_test(test_reads_leave_their_part_of_the_burst_to_writes),
      cmocka_unit_test(test_the_rate_holds_over_generated_calls),
      cmocka_unit_test(test_nobody_goes_while_the_server_asked_to_wait),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
