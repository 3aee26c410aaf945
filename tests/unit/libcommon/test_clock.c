// Clocks and RFC 3339, judged by libc's calendar.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ecolink/clock.h"
#include "gen.h"

static void test_every_instant_survives_its_text_and_agrees_with_libc(void **state) {
  (void)state;
  gen g = {11};
  for (int i = 0; i < 100000; i++) {
    // years 0 to 9999
    int64_t us = gen_range(&g, INT64_C(-62167219200000000), INT64_C(253402300799999999));
    us = i % 2 == 0 ? us - ((us % ECO_US_PER_S) + ECO_US_PER_S) % ECO_US_PER_S : us;
    char text[ECO_RFC3339_MAX];
    eco_rfc3339_format(us, text);
    int64_t back = 0;
    assert_int_equal(eco_rfc3339_parse(text, &back), 0);
    assert_true(back == us);
    int64_t fraction = ((us % ECO_US_PER_S) + ECO_US_PER_S) % ECO_US_PER_S;
    time_t seconds = (time_t)((us - fraction) / ECO_US_PER_S);
    struct tm tm;
    assert_non_null(gmtime_r(&seconds, &tm));
    char want[80];
    int n = snprintf(want, sizeof(want), "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                     tm.tm_hour, tm.tm_min, tm.tm_sec);
    if (fraction != 0) {
      n += snprintf(want + n, sizeof(want) - (size_t)n, ".%06d", (int)fraction);
    }
    (void)snprintf(want + n, sizeof(want) - (size_t)n, "Z");
    assert_string_equal(text, want);
  }
}

static void test_the_documented_forms(void **state) {
  (void)state;
  const struct {
    const char *text;
    const char *utc;
  } cases[] = {
      {"2026-11-22T20:23:43.5Z", "2026-11-22T20:23:43.500000Z"},
      {"2026-11-22t20:23:43z", "2026-11-22T20:23:43Z"},
      {"2026-11-22T20:23:43+02:00", "2026-11-22T18:23:43Z"},
      {"2026-11-22T20:23:43-00:30", "2026-11-22T20:53:43Z"},
      {"2026-01-01T00:30:00+01:00", "2025-12-31T23:30:00Z"},
      {"2026-11-22T20:23:43.123456789Z", "2026-11-22T20:23:43.123456Z"},
      {"2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"},
      {"2000-02-29T23:59:59Z", "2000-02-29T23:59:59Z"},
      {"1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"},
      {"2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"},       // a leap second
      {"2017-01-01T00:59:60+01:00", "2017-01-01T00:00:00Z"},  // the same one
      {"0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"},
      {"9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    int64_t us = 0;
    char text[ECO_RFC3339_MAX];
    assert_int_equal(eco_rfc3339_parse(cases[i].text, &us), 0);
    eco_rfc3339_format(us, text);
    assert_string_equal(text, cases[i].utc);
  }
}

static void test_february_has_its_days_in_every_year(void **state) {
  (void)state;
  for (int year = 1600; year < 2500; year++) {
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    char text[80];
    int64_t us = 0;
    (void)snprintf(text, sizeof(text), "%04d-02-29T12:00:00Z", year);
    assert_int_equal(eco_rfc3339_parse(text, &us), leap ? 0 : -1);
    int64_t march = 0;
    int64_t february = 0;
    (void)snprintf(text, sizeof(text), "%04d-03-01T00:00:00Z", year);
    assert_int_equal(eco_rfc3339_parse(text, &march), 0);
    (void)snprintf(text, sizeof(text), "%04d-02-28T00:00:00Z", year);
    assert_int_equal(eco_rfc3339_parse(text, &february), 0);
    assert_true(march - february == (leap ? 2 : 1) * INT64_C(86400) * ECO_US_PER_S);
  }
}

static void test_what_is_no_time_is_refused(void **state) {
  (void)state;
  const char *const cases[] = {"",
                               "2026",
                               "2026-11-22",
                               "2026-11-22T20:23:43",
                               "2026-11-22 20:23:43Z",
                               "2026-13-01T00:00:00Z",
                               "2026-00-01T00:00:00Z",
                               "2026-04-31T00:00:00Z",
                               "2026-04-00T00:00:00Z",
                               "2023-02-29T00:00:00Z",
                               "1900-02-29T00:00:00Z",
                               "2026-11-22T24:00:00Z",
                               "2026-11-22T20:60:00Z",
                               "2026-11-22T20:23:61Z",
                               "2026-11-22T20:23:60Z",
                               "2026-11-22T20:23:43.Z",
                               "2026-11-22T20:23:43.1234567890Z",
                               "2026-11-22T20:23:43+2:00",
                               "2026-11-22T20:23:43+0200",
                               "2026-11-22T20:23:43+24:00",
                               "2026-11-22T20:23:43+02:60",
                               "2026-11-22T20:23:43Zx",
                               "2026-11-22T20:23:43Z ",
                               " 2026-11-22T20:23:43Z",
                               "26-11-22T20:23:43Z",
                               "-026-11-22T20:23:43Z",
                               "2026-1-22T20:23:43Z"};
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    int64_t us = 42;
    assert_int_equal(eco_rfc3339_parse(cases[i], &us), -1);
    assert_int_equal(us, 42);
  }
}

static void test_instants_beyond_four_digit_years_are_shown_as_the_last(void **state) {
  (void)state;
  char text[ECO_RFC3339_MAX];
  eco_rfc3339_format(INT64_MAX, text);
  assert_string_equal(text, "9999-12-31T23:59:59.999999Z");
  eco_rfc3339_format(INT64_MIN, text);
  assert_string_equal(text, "0000-01-01T00:00:00Z");
}

static void test_clocks_go_forward(void **state) {
  (void)state;
  int64_t wall = eco_wall_us();
  int64_t boot = eco_boottime_ms();
  (void)usleep(5000);
  assert_true(eco_wall_us() - wall >= 4000);
  assert_true(eco_boottime_ms() - boot >= 4);
}

static void write_offset(const char *path, const char *text) {
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  assert_true(fputs(text, f) >= 0);
  assert_int_equal(fclose(f), 0);
}

// The shift in seconds that eco_now_us shows now, after it had time to look.
static int64_t shift_s(void) {
  (void)usleep(30000);
  int64_t difference = eco_now_us() - eco_wall_us();
  return (difference + (difference >= 0 ? 500000 : -500000)) / ECO_US_PER_S;
}

static void test_business_time_follows_the_offset_file_in_test_builds_only(void **state) {
  (void)state;
  char path[] = "/tmp/eco-clock-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  (void)close(fd);
  assert_int_equal(shift_s(), 0);
  assert_int_equal(setenv("ECOLINK_CLOCK_OFFSET_FILE", path, 1), 0);
#ifdef ECO_TEST_BUILD
  const int64_t day = 86400;
#else
  const int64_t day = 0;
#endif
  write_offset(path, "86400\n");
  assert_int_equal(shift_s(), day);
  write_offset(path, "172800");
  assert_int_equal(shift_s(), 2 * day);
  write_offset(path, "-86400");
  assert_int_equal(shift_s(), -day);
  write_offset(path, "");  // caught between truncation and writing: the last value stays
  assert_int_equal(shift_s(), -day);
  write_offset(path, "nonsense");
  assert_int_equal(shift_s(), -day);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(shift_s(), 0);
  assert_int_equal(unsetenv("ECOLINK_CLOCK_OFFSET_FILE"), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_instant_survives_its_text_and_agrees_with_libc),
      cmocka_unit_test(test_the_documented_forms),
      cmocka_unit_test(test_february_has_its_days_in_every_year),
      cmocka_unit_test(test_what_is_no_time_is_refused),
      cmocka_unit_test(test_instants_beyond_four_digit_years_are_shown_as_the_last),
      cmocka_unit_test(test_clocks_go_forward),
      cmocka_unit_test(test_business_time_follows_the_offset_file_in_test_builds_only),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
