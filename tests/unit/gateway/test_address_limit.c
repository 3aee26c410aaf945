// The strangers' rate limit: which addresses share a bucket, and how the last hop of a chain is read.
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
// clang-format on

#include "address_limit.h"

enum { MINUTE_US = 60000000 };

static gw_address read_chain(const char *list) {
  gw_address a;
  memset(&a, 0xee, sizeof a);
  assert_true(gw_address_forwarded(list, strlen(list), &a));
  return a;
}

static void test_the_last_member_of_a_chain_is_the_client(void **state) {
  (void)state;
  const gw_address one = read_chain("203.0.113.7");
  const char *const SAME[] = {"1.2.3.4, 203.0.113.7", "1.2.3.4,203.0.113.7", "x, 203.0.113.7 ",
                              ",203.0.113.7",         "::1,\t203.0.113.7\t", "::ffff:203.0.113.7"};
  for (size_t i = 0; i < sizeof SAME / sizeof SAME[0]; i++) {
    const gw_address other = read_chain(SAME[i]);
    assert_memory_equal(&one, &other, sizeof one);
  }
}

static void test_what_is_no_address_is_refused_and_changes_nothing(void **state) {
  (void)state;
  const char *const BAD[] = {"",
                             " ",
                             ",",
                             "203.0.113.7,",
                             "unknown",
                             "1.2.3",
                             "1.2.3.4:80",
                             "[::1]",
                             "1.2.3.4.5",
                             "999.1.1.1",
                             "1111:2222:3333:4444:5555:6666:7777:8888:9999:0000:1111:2222"};
  for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
    gw_address a = {{7}};
    const gw_address before = a;
    assert_false(gw_address_forwarded(BAD[i], strlen(BAD[i]), &a));
    assert_memory_equal(&a, &before, sizeof a);
  }
  assert_false(gw_address_forwarded("", 0, &(gw_address){{0}}));
}

static void test_an_ipv6_network_of_64_bits_is_one_client(void **state) {
  (void)state;
  const gw_address a = read_chain("2001:db8:1:2::1");
  const gw_address b = read_chain("2001:db8:1:2:ffff:ffff:ffff:ffff");
  const gw_address c = read_chain("2001:db8:1:3::1");
  assert_memory_equal(&a, &b, sizeof a);
  assert_memory_not_equal(&a, &c, sizeof a);
}

static void test_each_address_has_its_own_bucket_that_refills(void **state) {
  (void)state;
  // Slots are shared by chance: of a thousand addresses in 65,536 slots nearly all are alone.
  int alone = 0;
  for (int i = 0; i < 1000; i++) {
    char text[32];
    snprintf(text, sizeof text, "10.1.%d.%d", i / 250, i % 250);
    const gw_address a = read_chain(text);
    const gw_limit first = gw_address_limit(&a, MINUTE_US, 2);
    const gw_limit second = gw_address_limit(&a, MINUTE_US, 2);
    const gw_limit third = gw_address_limit(&a, MINUTE_US, 2);
    assert_false(third.allowed);
    assert_in_range(third.retry_after_s, 1, 30);
    alone += first.allowed && second.allowed;
  }
  assert_in_range(alone, 950, 1000);
  const gw_address back = read_chain("10.1.0.0");
  assert_true(gw_address_limit(&back, 3 * (int64_t)MINUTE_US, 2).allowed);
}

static void test_memory_does_not_grow_with_the_number_of_addresses(void **state) {
  (void)state;
  for (uint32_t i = 0; i < 300000; i++) {  // the table is static: this touches it all over and allocates nothing
    gw_address a = {{0}};
    memcpy(a.bytes, &i, sizeof i);
    const gw_limit l = gw_address_limit(&a, 10 * (int64_t)MINUTE_US, 100);
    assert_int_equal(l.limit, 100);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_last_member_of_a_chain_is_the_client),
      cmocka_unit_test(test_what_is_no_address_is_refused_and_changes_nothing),
      cmocka_unit_test(test_an_ipv6_network_of_64_bits_is_one_client),
      cmocka_unit_test(test_each_address_has_its_own_bucket_that_refills),
      cmocka_unit_test(test_memory_does_not_grow_with_the_number_of_addresses),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
