// The gateway's metrics: what several loops counted, added up.
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "ecolink/metrics.h"
#include "metrics.h"

static char *written(void) {
  eco_buf b;
  eco_buf_init(&b, 1 << 20);
  assert_true(eco_metrics_write(&b));
  char *text = strndup(b.data, b.len);
  eco_buf_free(&b);
  return text;
}

static void expect(const char *line) {
  char *text = written();
  if (!strstr(text, line)) {
    fail_msg("%s is not in:\n%s", line, text);
  }
  free(text);
}

static void test_every_loops_counts_are_in_one_answer(void **state) {
  (void)state;
  gw_metrics *a = gw_metrics_new();
  gw_metrics *b = gw_metrics_new();
  gw_metrics_answer(a, 200, 3000);
  gw_metrics_answer(b, 200, 700 * UINT64_C(1000));
  gw_metrics_answer(b, 599, UINT64_C(400) * 1000000000);
  gw_metrics_answer(b, 0, 1);
  gw_metrics_answer(b, 600, 1);
  gw_metrics_add(&a->errors[ECO_OVERLOADED], 2);
  gw_metrics_add(&b->errors[ECO_OVERLOADED], 1);
  gw_metrics_add(&a->in_flight, 5);
  gw_metrics_add(&b->in_flight, 1);
  gw_metrics_add(&b->in_flight, -1);
  gw_metrics_set(&b->held_bytes, 70);
  gw_metrics_add(&b->failures[GW_FAIL_GARBAGE], 1);
  expect("ecolink_gateway_requests_total{status=\"200\"} 2\n");
  expect("ecolink_gateway_requests_total{status=\"599\"} 1\n");
  expect("ecolink_gateway_requests_total{status=\"none\"} 2\n");
  expect("ecolink_gateway_errors_total{code=\"overloaded\"} 3\n");
  expect("ecolink_gateway_requests_in_flight 5\n");
  expect("ecolink_gateway_held_bytes 70\n");
  expect("ecolink_gateway_upstream_failures_total{kind=\"garbage\"} 1\n");
  expect("ecolink_gateway_request_seconds_bucket{le=\"0.00025\"} 3\n");
  expect("ecolink_gateway_request_seconds_bucket{le=\"0.001\"} 4\n");
  expect("ecolink_gateway_request_seconds_bucket{le=\"+Inf\"} 5\n");
  expect("ecolink_gateway_request_seconds_sum 400.000703\n");
}

static void test_statuses_and_codes_that_never_came_are_not_written(void **state) {
  (void)state;
  char *text = written();
  assert_null(strstr(text, "status=\"418\""));
  assert_null(strstr(text, "code=\"forbidden\""));
  free(text);
}

static int init(void **state) {
  (void)state;
  gw_metrics_init();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_loops_counts_are_in_one_answer),
      cmocka_unit_test(test_statuses_and_codes_that_never_came_are_not_written),
  };
  return cmocka_run_group_tests(tests, init, NULL);
}
