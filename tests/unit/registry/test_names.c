// Names, labels, emails and regions: each rule against an independent reading of it, over generated strings.

#include <regex.h>

#include "names.h"
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
#include "registry_limits.h"

static uint64_t seed = 0x9e3779b97f4a7c15;
static uint32_t next_random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return (uint32_t)(seed >> 32);
}

// A string of length 0..max-1 from the bytes of `alphabet`.
static void random_string(char *out, size_t max, const char *alphabet) {
  size_t n = next_random() % max;
  size_t letters = strlen(alphabet);
  for (size_t i = 0; i < n; i++) {
    out[i] = alphabet[next_random() % letters];
  }
  out[n] = '\0';
}

// Compares a rule with a POSIX regular expression over generated strings; both verdicts must occur.
static void compare_with_regex(bool (*rule)(const char *), const char *pattern, const char *alphabet, size_t max) {
  regex_t regex;
  assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
  int accepted = 0;
  int refused = 0;
  char text[300];
  for (int i = 0; i < 50000; i++) {
    random_string(text, max, alphabet);
    bool expected = regexec(&regex, text, 0, NULL, 0) == 0;
    if (rule(text) != expected) {
      fail_msg("'%s' should be %s", text, expected ? "accepted" : "refused");
    }
    *(expected ? &accepted : &refused) += 1;
  }
  regfree(&regex);
  assert_true(accepted > 100 && refused > 100);
}

static void test_model_names_follow_the_documented_pattern(void **state) {
  (void)state;
  compare_with_regex(registry_name_valid, "^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$", "abzAZ09._/-", 8);
  compare_with_regex(registry_name_valid, "^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$", "aZ0._/-", 200);
  compare_with_regex(registry_name_valid, "^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$", "aZ09._/- :\n\t@\xc3\xa9", 6);
}

static void test_a_name_of_128_bytes_is_the_longest(void **state) {
  (void)state;
  char name[REGISTRY_NAME_MAX + 2];
  memset(name, 'a', sizeof name);
  name[REGISTRY_NAME_MAX] = '\0';
  assert_true(registry_name_valid(name));
  name[REGISTRY_NAME_MAX] = 'a';
  name[REGISTRY_NAME_MAX + 1] = '\0';
  assert_false(registry_name_valid(name));
}

static void test_regions_are_dns_labels(void **state) {
  (void)state;
  compare_with_regex(registry_region_valid, "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", "az09-", 70);
  compare_with_regex(registry_region_valid, "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", "az09-A._ ", 5);
}

static void test_emails_follow_the_dot_atom_grammar(void **state) {
  (void)state;
#define ATOM "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
#define LABEL "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
  const char *pattern = "^" ATOM "(\\." ATOM ")*@" LABEL "(\\." LABEL ")+$";
  compare_with_regex(registry_email_valid, pattern, "aaaZ9..@@-+", 12);
  compare_with_regex(registry_email_valid, pattern, "aaa..@", 9);
}

static void test_emails_by_example(void **state) {
  (void)state;
  const char *good[] = {"ada@example.com", "a.b+c@x-y.example.co", "A@B.cd", "o'neil@example.org"};
  const char *bad[] = {
      "",           "ada",           "ada@",          "@example.com",  "ada@localhost", "a@@b.cc",
      "a b@c.de",   ".a@b.cc",       "a.@b.cc",       "a..b@c.de",     "a@-b.cc",       "a@b-.cc",
      "a@b..cc",    "a@.b.cc",       "a@b.cc.",       "a@b.cc\n",      "\"a\"@b.cc",    "a@[127.0.0.1]",
      "a\x01@b.cc", "\xc3\xa9@b.cc", "a@\xc3\xa9.cc", "Ada <ada@b.cc>"};
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    assert_true(registry_email_valid(good[i]));
  }
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    if (registry_email_valid(bad[i])) {
      fail_msg("%s is no address", bad[i]);
    }
  }
}

static void test_an_email_has_at_most_64_and_254_bytes(void **state) {
  (void)state;
  char email[400];
  memset(email, 'a', 65);
  (void)snprintf(email + 64, sizeof email - 64, "@b.cc");
  assert_true(registry_email_valid(email));
  (void)snprintf(email + 64, sizeof email - 64, "a@b.cc");
  assert_false(registry_email_valid(email));
  size_t len = (size_t)snprintf(email, sizeof email, "a@");
  while (len < 250) {
    len += (size_t)snprintf(email + len, sizeof email - len, "bb.");
  }
  (void)snprintf(email + len, sizeof email - len, "cc");
  assert_true(strlen(email) <= REGISTRY_EMAIL_MAX);
  assert_true(registry_email_valid(email));
  (void)snprintf(email + len, sizeof email - len, "ccccc");
  assert_true(strlen(email) > REGISTRY_EMAIL_MAX);
  assert_false(registry_email_valid(email));
}

static void test_an_email_is_one_member_whatever_its_case(void **state) {
  (void)state;
  char out[64];
  registry_email_fold("Ada.LOVELACE+X@Example.COM", out);
  assert_string_equal(out, "ada.lovelace+x@example.com");
}

static void test_labels_are_printable_utf8(void **state) {
  (void)state;
  const char *good[] = {"a", "My model", "caf\xc3\xa9", "\xe6\xa8\xa1\xe5\x9e\x8b", "\xf0\x9f\xa6\x99", "a  b"};
  const char *bad[] = {"",         " a",       "a ",       "a\nb",         "a\x1b[31m",        "a\x7f",
                       "\xc3",     "\xc3\x28", "\xc0\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xe0\x80\x80",
                       "\xc2\x85", "\xff",     "a\x80"};
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    assert_true(registry_label_valid(good[i], REGISTRY_LABEL_MAX));
  }
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    if (registry_label_valid(bad[i], REGISTRY_LABEL_MAX)) {
      fail_msg("label %zu is not to be shown", i);
    }
  }
  assert_true(registry_label_valid("abcd", 4));
  assert_false(registry_label_valid("abcde", 4));
}

// Every code point encodes to something valid, except the controls and surrogates.
static void test_every_code_point_is_judged_by_its_kind(void **state) {
  (void)state;
  for (uint32_t c = 1; c <= 0x10ffff; c++) {
    char s[5] = {0};
    if (c < 0x80) {
      s[0] = (char)c;
    } else if (c < 0x800) {
      s[0] = (char)(0xc0 | (c >> 6));
      s[1] = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
      s[0] = (char)(0xe0 | (c >> 12));
      s[1] = (char)(0x80 | ((c >> 6) & 0x3f));
      s[2] = (char)(0x80 | (c & 0x3f));
    } else {
      s[0] = (char)(0xf0 | (c >> 18));
      s[1] = (char)(0x80 | ((c >> 12) & 0x3f));
      s[2] = (char)(0x80 | ((c >> 6) & 0x3f));
      s[3] = (char)(0x80 | (c & 0x3f));
    }
    bool control = c < 0x20 || (c >= 0x7f && c <= 0x9f);
    bool surrogate = c >= 0xd800 && c <= 0xdfff;
    if (registry_text_valid(s, 4) == (control || surrogate)) {
      fail_msg("U+%04X", c);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_model_names_follow_the_documented_pattern),
      cmocka_unit_test(test_a_name_of_128_bytes_is_the_longest),
      cmocka_unit_test(test_regions_are_dns_labels),
      cmocka_unit_test(test_emails_follow_the_dot_atom_grammar),
      cmocka_unit_test(test_emails_by_example),
      cmocka_unit_test(test_an_email_has_at_most_64_and_254_bytes),
      cmocka_unit_test(test_an_email_is_one_member_whatever_its_case),
      cmocka_unit_test(test_labels_are_printable_utf8),
      cmocka_unit_test(test_every_code_point_is_judged_by_its_kind),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
