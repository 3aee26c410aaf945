// Waiting by the monotonic clock, and the end that is told to those who wait.
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
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

static void test_a_file_is_locked_once_its_holder_lets_go(void **state) {
  (void)state;
  char path[] = "/tmp/eco-lock-XXXXXX";
  const int a = mkstemp(path);
  const int b = open(path, O_RDWR | O_CLOEXEC);
  assert_true(a >= 0 && b >= 0);
  assert_true(eco_file_lock(a, 0));
  errno = 0;
  assert_false(eco_file_lock(b, 0));
  assert_int_equal(errno, EWOULDBLOCK);
  assert_false(eco_file_lock(b, 30));
  assert_int_equal(errno, EWOULDBLOCK);
  assert_int_equal(close(a), 0);
  assert_true(eco_file_lock(b, 0));
  assert_int_equal(close(b), 0);
  assert_false(eco_file_lock(b, 1000));
  assert_int_equal(errno, EBADF);
  assert_int_equal(unlink(path), 0);
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
      cmocka_unit_test(test_a_file_is_locked_once_its_holder_lets_go),
      cmocka_unit_test(test_a_wait_of_nothing_ends_at_once_and_goes_on),
      cmocka_unit_test(test_the_end_wakes_everyone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
