// Metrics and their text form.
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "ecolink/metrics.h"
#include "gen.h"

static char text[1 << 16];

static const char *written(void) {
  eco_buf b;
  eco_buf_init(&b, sizeof(text) - 1);
  assert_true(eco_metrics_write(&b));
  memcpy(text, b.data, b.len + 1);
  eco_buf_free(&b);
  return text;
}

static void test_the_same_name_and_labels_are_the_same_metric(void **state) {
  (void)state;
  eco_metric *a = eco_counter("calls_total", "calls", "method=\"A\"");
  eco_metric *b = eco_counter("calls_total", "calls", "method=\"B\"");
  assert_ptr_not_equal(a, b);
  assert_ptr_equal(a, eco_counter("calls_total", "calls", "method=\"A\""));
  assert_ptr_equal(eco_gauge("depth", "d", NULL), eco_gauge("depth", "d", ""));
}

static void test_families_are_written_together_with_one_head(void **state) {
  (void)state;
  eco_metric *a = eco_counter("fam_total", "first\nsecond \\", "k=\"1\"");
  eco_metric *other = eco_gauge("between", "x", NULL);
  eco_metric *b = eco_counter("fam_total", "ignored", "k=\"2\"");
  eco_metric_add(a, 3);
  eco_metric_add(b, 4);
  eco_metric_set(other, -7);
  const char *all = written();
  assert_non_null(strstr(all,
                         "# HELP fam_total first\\nsecond \\\\\n# TYPE fam_total counter\n"
                         "fam_total{k=\"1\"} 3\nfam_total{k=\"2\"} 4\n"));
  assert_non_null(strstr(all, "# TYPE between gauge\nbetween -7\n"));
  const char *first = strstr(all, "# TYPE fam_total");
  assert_null(strstr(first + 1, "# TYPE fam_total"));
}

static void test_a_histogram_counts_cumulatively(void **state) {
  (void)state;
  static const double bounds[] = {0.1, 0.5, 1, 0};
  eco_metric *plain = eco_histogram("took_seconds", "time", NULL, bounds);
  eco_metric *labelled = eco_histogram("took_seconds", "time", "m=\"x\"", bounds);
  const double values[] = {0.05, 0.1, 0.3, 0.9, 5};
  for (size_t i = 0; i < 5; i++) {
    eco_metric_observe(plain, values[i]);
  }
  eco_metric_observe(labelled, 0.5);
  const char *all = written();
  assert_non_null(strstr(all,
                         "took_seconds_bucket{le=\"0.1\"} 2\ntook_seconds_bucket{le=\"0.5\"} 3\n"
                         "took_seconds_bucket{le=\"1\"} 4\ntook_seconds_bucket{le=\"+Inf\"} 5\n"
                         "took_seconds_sum 6.35\ntook_seconds_count 5\n"));
  assert_non_null(strstr(all, "took_seconds_bucket{m=\"x\",le=\"0.1\"} 0\n"));
  assert_non_null(strstr(all, "took_seconds_sum{m=\"x\"} 0.5\ntook_seconds_count{m=\"x\"} 1\n"));
  assert_int_equal(eco_metric_value(plain), 5);
}

static void *count(void *arg) {
  static const double bounds[] = {1, 0};
  eco_metric *histogram = eco_histogram("shared_seconds", "s", NULL, bounds);
  for (int i = 0; i < 20000; i++) {
    eco_metric_add(arg, 1);
    eco_metric_observe(histogram, 0.5);
  }
  return NULL;
}

static void test_no_update_of_several_threads_is_lost(void **state) {
  (void)state;
  eco_metric *m = eco_counter("threads_total", "t", NULL);
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, count, m), 0);
  }
  for (int i = 0; i < 4; i++) {
    (void)written();
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  }
  assert_int_equal(eco_metric_value(m), 80000);
  assert_non_null(strstr(written(), "shared_seconds_sum 40000\nshared_seconds_count 80000\n"));
}

static void set_before_write(void *arg) {
  static const double bounds[] = {1, 5, 0};
  static const int64_t counts[] = {2, 0, 3};
  eco_metric_set(eco_counter("late_total", "l", NULL), ++*(int64_t *)arg);
  eco_metric_set_histogram(eco_histogram("late_seconds", "l", NULL, bounds), counts, 61.5);
}

static void test_what_is_counted_elsewhere_is_taken_over_at_each_write(void **state) {
  (void)state;
  int64_t writes = 6;
  eco_metrics_before_write(set_before_write, &writes);
  assert_non_null(strstr(written(), "late_total 7\n"));
  const char *all = written();
  assert_non_null(strstr(all, "late_total 8\n"));
  assert_non_null(strstr(all,
                         "late_seconds_bucket{le=\"1\"} 2\nlate_seconds_bucket{le=\"5\"} 2\n"
                         "late_seconds_bucket{le=\"+Inf\"} 5\nlate_seconds_sum 61.5\nlate_seconds_count 5\n"));
  eco_metrics_before_write(NULL, NULL);
}

static void test_a_buffer_that_is_too_small_is_reported(void **state) {
  (void)state;
  (void)eco_counter("some_total", "s", NULL);
  for (size_t max = 0; max < 30; max++) {
    eco_buf b;
    eco_buf_init(&b, max);
    assert_false(eco_metrics_write(&b));
    eco_buf_free(&b);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_same_name_and_labels_are_the_same_metric),
      cmocka_unit_test(test_families_are_written_together_with_one_head),
      cmocka_unit_test(test_a_histogram_counts_cumulatively),
      cmocka_unit_test(test_no_update_of_several_threads_is_lost),
      cmocka_unit_test(test_what_is_counted_elsewhere_is_taken_over_at_each_write),
      cmocka_unit_test(test_a_buffer_that_is_too_small_is_reported),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
