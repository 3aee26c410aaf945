// Money: charges against exact arithmetic, text both ways, overflow on every edge.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ecolink/money.h"
#include "gen.h"

// The same number by another road: whole hours and the remainder apart, rounding decided by comparing twice the rest.
static __int128 charge_by_hand(int64_t seconds, int64_t rate, int64_t gpus) {
  __int128 per_hour = (__int128)rate * gpus;
  __int128 whole = per_hour * (seconds / 3600);
  __int128 rest = per_hour * (seconds % 3600);
  return whole + rest / 3600 + (2 * (rest % 3600) >= 3600 ? 1 : 0);
}

static void test_a_charge_is_the_exact_quotient_rounded_half_up(void **state) {
  (void)state;
  gen g = {5};
  for (int i = 0; i < 200000; i++) {
    int64_t seconds = gen_range(&g, 0, i % 2 == 0 ? 90000 : INT64_C(4000000000));
    int64_t rate = gen_range(&g, 0, i % 3 == 0 ? 100 : INT64_C(100000000));
    int64_t gpus = gen_range(&g, 0, 64);
    __int128 want = charge_by_hand(seconds, rate, gpus);
    int64_t got = -1;
    bool ok = eco_money_charge(seconds, rate, gpus, &got);
    assert_int_equal(ok, want <= INT64_MAX);
    if (ok) {
      assert_true(got == (int64_t)want);
    }
  }
}

static void test_a_charge_of_one_ready_hour_at_the_documented_price(void **state) {
  (void)state;
  int64_t micros = 0;
  assert_true(eco_money_charge(3600, 1600000, 1, &micros));
  assert_int_equal(micros, 1600000);
  assert_true(eco_money_charge(86400, 1600000, 2, &micros));
  assert_int_equal(micros, 76800000);
  assert_true(eco_money_charge(1800, 1, 1, &micros));  // exactly a half rounds up
  assert_int_equal(micros, 1);
  assert_true(eco_money_charge(1799, 1, 1, &micros));
  assert_int_equal(micros, 0);
}

static void test_split_charges_add_up_to_the_whole(void **state) {
  (void)state;
  gen g = {6};
  for (int i = 0; i < 5000; i++) {
    int64_t rate = gen_range(&g, 0, 50000000);
    int64_t gpus = gen_range(&g, 1, 8);
    int64_t elapsed = 0;
    int64_t charged = 0;
    int64_t sum = 0;
    for (int cycle = 0; cycle < 20; cycle++) {
      elapsed += gen_range(&g, 0, 86400);
      int64_t through = 0;
      assert_true(eco_money_charge(elapsed, rate, gpus, &through));
      assert_true(through >= charged);
      sum += through - charged;  // what this cycle costs
      charged = through;
    }
    assert_true((__int128)sum == charge_by_hand(elapsed, rate, gpus));
  }
}

static void test_a_charge_refuses_negative_and_overflowing_input(void **state) {
  (void)state;
  int64_t out = 77;
  assert_false(eco_money_charge(-1, 1, 1, &out));
  assert_false(eco_money_charge(1, -1, 1, &out));
  assert_false(eco_money_charge(1, 1, -1, &out));
  assert_false(eco_money_charge(INT64_MAX, INT64_MAX, INT64_MAX, &out));
  assert_false(eco_money_charge(INT64_MAX, 3601, 1, &out));
  assert_int_equal(out, 77);
  assert_true(eco_money_charge(INT64_MAX, 3600, 1, &out));
  assert_true(out == INT64_MAX);
}

static void test_sums_differences_and_products_are_checked(void **state) {
  (void)state;
  gen g = {7};
  for (int i = 0; i < 200000; i++) {
    int64_t a = gen_i64(&g);
    int64_t b = gen_i64(&g);
    __int128 wide[3] = {(__int128)a + b, (__int128)a - b, (__int128)a * b};
    int64_t out[3] = {123, 123, 123};
    bool ok[3] = {eco_money_add(a, b, &out[0]), eco_money_sub(a, b, &out[1]), eco_money_mul(a, b, &out[2])};
    for (int k = 0; k < 3; k++) {
      bool fits = wide[k] >= INT64_MIN && wide[k] <= INT64_MAX;
      assert_int_equal(ok[k], fits);
      assert_true(out[k] == (fits ? (int64_t)wide[k] : 123));
    }
  }
}

static void test_amounts_are_written_with_two_to_six_digits(void **state) {
  (void)state;
  const struct {
    int64_t micros;
    const char *text;
  } cases[] = {
      {0, "0.00"},
      {1, "0.000001"},
      {-5, "-0.000005"},
      {76800000, "76.80"},
      {-3200000, "-3.20"},
      {1234500, "1.2345"},
      {1000000, "1.00"},
      {999999, "0.999999"},
      {INT64_MAX, "9223372036854.775807"},
      {INT64_MIN, "-9223372036854.775808"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    char text[ECO_MONEY_TEXT_MAX];
    eco_money_format(cases[i].micros, text);
    assert_string_equal(text, cases[i].text);
    int64_t back = 1;
    assert_true(eco_money_parse(text, &back));
    assert_true(back == cases[i].micros);
  }
}

static void test_every_amount_survives_its_text(void **state) {
  (void)state;
  gen g = {8};
  for (int i = 0; i < 200000; i++) {
    int64_t micros = gen_i64(&g);
    char text[ECO_MONEY_TEXT_MAX];
    eco_money_format(micros, text);
    const char *point = strchr(text, '.');
    assert_non_null(point);
    assert_true(strlen(point + 1) >= 2 && strlen(point + 1) <= 6);
    assert_true(strlen(point + 1) == 2 || text[strlen(text) - 1] != '0');
    int64_t back = 0;
    assert_true(eco_money_parse(text, &back));
    assert_true(back == micros);
  }
}

static void test_amounts_of_other_forms_are_read(void **state) {
  (void)state;
  const struct {
    const char *text;
    int64_t micros;
  } cases[] = {{"5", 5000000},  {"+5.5", 5500000},         {"-0", 0},         {"007.10", 7100000},
               {"0.1", 100000}, {"-12.000001", -12000001}, {"100", 100000000}};
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    int64_t micros = 99;
    assert_true(eco_money_parse(cases[i].text, &micros));
    assert_int_equal(micros, cases[i].micros);
  }
}

static void test_what_is_no_amount_is_refused(void **state) {
  (void)state;
  const char *const cases[] = {"",
                               "-",
                               "+",
                               ".",
                               ".5",
                               "5.",
                               "1.2.3",
                               " 1",
                               "1 ",
                               "1e3",
                               "0x10",
                               "1,5",
                               "--1",
                               "+-1",
                               "$5",
                               "nan",
                               "inf",
                               "1.0000001",
                               "9223372036854.775808",
                               "-9223372036854.775809",
                               "99999999999999999999",
                               "1\n",
                               "1.-5"};
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    int64_t micros = 42;
    assert_false(eco_money_parse(cases[i], &micros));
    assert_int_equal(micros, 42);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_charge_is_the_exact_quotient_rounded_half_up),
      cmocka_unit_test(test_a_charge_of_one_ready_hour_at_the_documented_price),
      cmocka_unit_test(test_split_charges_add_up_to_the_whole),
      cmocka_unit_test(test_a_charge_refuses_negative_and_overflowing_input),
      cmocka_unit_test(test_sums_differences_and_products_are_checked),
      cmocka_unit_test(test_amounts_are_written_with_two_to_six_digits),
      cmocka_unit_test(test_every_amount_survives_its_text),
      cmocka_unit_test(test_amounts_of_other_forms_are_read),
      cmocka_unit_test(test_what_is_no_amount_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
