// Waiting by the monotonic clock, and the end that is told to those who wait.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "ecolink/pace.h"

enum { LONG_MS = 600 * 1000, WAITERS = 4 };

static int64_t ns_of(struct timespec t) {
  return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void test_a_deadline_is_a_whole_time_that_far_ahead(void **state) {
  (void)state;
  for (int64_t ms = -2000; ms < 5000; ms += 7) {
    struct timespec before;
    clock_gettime(CLOCK_MONOTONIC, &before);
    const struct timespec at = eco_deadline_in(ms);
    struct timespec after;
    clock_gettime(CLOCK_MONOTONIC, &after);
    const int64_t ahead = (ms > 0 ? ms : 0) * INT64_C(1000000);
    assert_in_range(at.tv_nsec, 0, 999999999);
    assert_true(ns_of(at) >= ns_of(before) + ahead && ns_of(at) <= ns_of(after) + ahead);
  }
}

static void test_a_wait_of_nothing_ends_at_once_and_goes_on(void **state) {
  (void)state;
  eco_pace pace;
  eco_pace_init(&pace);
  assert_true(eco_pace_wait(&pace, 0));
  assert_true(eco_pace_wait(&pace, -5));
  assert_false(eco_pace_ended(&pace));
  eco_pace_end(&pace);
  assert_true(eco_pace_ended(&pace));
  assert_false(eco_pace_wait(&pace, LONG_MS));  // told before: no wait at all
  eco_pace_free(&pace);
}

static void *waits_long(void *arg) {
  return eco_pace_wait(arg, LONG_MS) ? NULL : arg;
}

static void test_the_end_wakes_everyone(void **state) {
  (void)state;
  eco_pace pace;
  pthread_t threads[WAITERS];
  eco_pace_init(&pace);
  for (int i = 0; i < WAITERS; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, waits_long, &pace), 0);
  }
  eco_pace_end(&pace);
  for (int i = 0; i < WAITERS; i++) {
    void *told = NULL;
    assert_int_equal(pthread_join(threads[i], &told), 0);
    assert_ptr_equal(told, &pace);
  }
  eco_pace_free(&pace);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_deadline_is_a_whole_time_that_far_ahead),
      cmocka_unit_test(test_a_wait_of_nothing_ends_at_once_and_goes_on),
      cmocka_unit_test(test_the_end_wakes_everyone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
