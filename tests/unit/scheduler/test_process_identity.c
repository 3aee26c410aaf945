// Who replicas run as: one user, or one number for each instance.
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <unistd.h>

#include "driver_process_spawn.h"

static void test_a_range_gives_each_instance_a_user_of_its_own(void **state) {
  (void)state;
  const process_identity all = {.uid = 50000, .gid = 50000, .change = true, .span = 100};
  for (int64_t a = 1; a <= 100; a++) {
    const process_identity one = process_identity_of(&all, a);
    assert_true(one.change);
    assert_in_range(one.uid, 50000, 50099);
    assert_int_equal(one.uid, one.gid);
    assert_int_equal(one.uid, process_identity_of(&all, a).uid);  // a restart finds its files
    assert_int_not_equal(one.uid, process_identity_of(&all, a + 1).uid);
  }
  assert_in_range(process_identity_of(&all, INT64_MAX).uid, 50000, 50099);
}

static void test_without_a_range_all_run_as_one(void **state) {
  (void)state;
  const process_identity all = {.uid = 65534, .gid = 65534, .change = true};
  assert_int_equal(process_identity_of(&all, 7).uid, 65534);
  assert_int_equal(process_identity_of(&all, 8).gid, 65534);
}

static void test_only_sound_ranges_are_taken(void **state) {
  (void)state;
  process_identity found;
  if (geteuid() != 0) {  // then the setting has no meaning
    assert_true(eco_ok(process_identity_find("50000-50099", &found)));
    assert_false(found.change);
    return;
  }
  assert_true(eco_ok(process_identity_find("50000-50099", &found)));
  assert_int_equal(found.uid, 50000);
  assert_int_equal(found.span, 100);
  assert_true(eco_ok(process_identity_find("50000-50000", &found)));
  assert_int_equal(found.span, 1);
  const char *const BAD[] = {"0-10",    "999-2000",     "50000-",   "-50000",           "50000-49999",
                             "50000-x", "50000-50099x", "50000--1", "50000-4294967295", "50000-99999999999999999999"};
  for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
    assert_false(eco_ok(process_identity_find(BAD[i], &found)));  // no user of that name either
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_range_gives_each_instance_a_user_of_its_own),
      cmocka_unit_test(test_without_a_range_all_run_as_one),
      cmocka_unit_test(test_only_sound_ranges_are_taken),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
