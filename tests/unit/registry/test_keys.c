// API keys, invites, members and cursors: their rules at and around every bound.

#include "keys.h"

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
#include "members.h"
#include "pages.h"
#include "registry_limits.h"

#define NOW INT64_C(1800000000000000)
#define DAY_US INT64_C(86400000000)

static void make_request(Ecolink__V1__CreateApiKeyRequest *r) {
  static char name[] = "ci";
  ecolink__v1__create_api_key_request__init(r);
  r->name = name;
}

static void test_a_key_has_documented_defaults(void **state) {
  (void)state;
  Ecolink__V1__CreateApiKeyRequest r;
  registry_key key;
  make_request(&r);
  assert_true(eco_ok(registry_key_from_request(&r, NOW, &key)));
  assert_int_equal(key.role, ECOLINK__V1__ROLE__ROLE_INFERENCE);
  assert_int_equal(key.rate_limit_per_minute, 200);
  assert_int_equal(key.expires_at_us, 0);
  assert_int_equal(key.spend_cap_micros, 0);
}

static void test_an_account_gives_three_roles(void **state) {
  (void)state;
  for (int role = -1; role < 9; role++) {
    Ecolink__V1__CreateApiKeyRequest r;
    registry_key key;
    make_request(&r);
    r.role = (Ecolink__V1__Role)role;
    eco_status st = registry_key_from_request(&r, NOW, &key);
    assert_int_equal(eco_ok(st), role >= 0 && role <= 3);
    if (eco_ok(st)) {
      assert_int_equal(key.role, role == 0 ? 3 : role);
    } else {
      assert_string_equal(st.param, "role");
    }
  }
}

static void test_expiry_lies_in_the_future(void **state) {
  (void)state;
  for (int64_t delta = -3; delta <= 3; delta++) {
    Ecolink__V1__CreateApiKeyRequest r;
    Ecolink__V1__Timestamp at = ECOLINK__V1__TIMESTAMP__INIT;
    registry_key key;
    make_request(&r);
    at.micros = NOW + delta;
    r.expires_at = &at;
    eco_status st = registry_key_from_request(&r, NOW, &key);
    assert_int_equal(eco_ok(st), delta > 0);
    if (!eco_ok(st)) {
      assert_string_equal(st.param, "expires_at");
    }
  }
}

static void test_rate_limit_and_cap_are_bounded(void **state) {
  (void)state;
  const int32_t limits[] = {INT32_MIN, -1, 0, 1, 200, REGISTRY_RATE_LIMIT_MAX, REGISTRY_RATE_LIMIT_MAX + 1, INT32_MAX};
  for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
    Ecolink__V1__CreateApiKeyRequest r;
    registry_key key;
    make_request(&r);
    r.rate_limit_set_case = ECOLINK__V1__CREATE_API_KEY_REQUEST__RATE_LIMIT_SET_RATE_LIMIT_PER_MINUTE;
    r.rate_limit_per_minute = limits[i];
    eco_status st = registry_key_from_request(&r, NOW, &key);
    assert_int_equal(eco_ok(st), limits[i] >= 1 && limits[i] <= REGISTRY_RATE_LIMIT_MAX);
  }
  const int64_t caps[] = {INT64_MIN, -1, 0, 1, INT64_MAX};
  for (size_t i = 0; i < sizeof caps / sizeof caps[0]; i++) {
    Ecolink__V1__CreateApiKeyRequest r;
    Ecolink__V1__Money cap = ECOLINK__V1__MONEY__INIT;
    registry_key key;
    make_request(&r);
    cap.micros = caps[i];
    r.spend_cap = &cap;
    assert_int_equal(eco_ok(registry_key_from_request(&r, NOW, &key)), caps[i] > 0);
  }
}

static void test_a_minted_key_is_shown_once_and_stored_as_its_hash(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  char last[ECO_API_KEY_LEN + 1] = "";
  for (int i = 0; i < 2000; i++) {
    registry_key key = {
        .id = "key_x", .account_id = "", .member_id = "", .operator_id = "", .name = "", .source_tag = ""};
    char secret[ECO_API_KEY_LEN + 1];
    registry_key_mint(arena, &key, secret);
    assert_true(eco_api_key_is(secret, strlen(secret)));
    assert_string_not_equal(secret, last);
    memcpy(last, secret, sizeof last);
    uint8_t hash[32];
    char hex[65];
    eco_sha256(secret, strlen(secret), hash);
    eco_hex(hash, sizeof hash, hex);
    assert_string_equal(key.sha256_hex, hex);
    assert_int_equal(strlen(key.prefix), 12);
    assert_memory_equal(key.prefix, secret, 12);
    assert_string_equal(registry_key_message(arena, &key, secret)->key->value, secret);
    assert_null(registry_key_message(arena, &key, NULL)->key);
  }
  eco_arena_free(arena);
}

static void test_what_is_no_key_is_not_adopted(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  char good[ECO_API_KEY_LEN + 1];
  registry_key key = {.id = ""};
  eco_api_key_new(good);
  assert_true(registry_key_adopt(arena, &key, good));
  for (size_t i = 0; i < ECO_API_KEY_LEN; i++) {
    char bad[ECO_API_KEY_LEN + 1];
    memcpy(bad, good, sizeof bad);
    bad[i] = '!';
    assert_false(registry_key_adopt(arena, &key, bad));
    memcpy(bad, good, sizeof bad);
    bad[i] = '\0';
    assert_false(registry_key_adopt(arena, &key, bad));
  }
  eco_arena_free(arena);
}

static void test_the_bucket_entry_says_who_and_whether_revoked(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  registry_key key = {.id = "key_1",
                      .account_id = "acc_1",
                      .member_id = "mem_1",
                      .operator_id = "",
                      .name = "n",
                      .source_tag = "",
                      .prefix = "eco_",
                      .role = ECOLINK__V1__ROLE__ROLE_MEMBER,
                      .rate_limit_per_minute = 7,
                      .expires_at_us = 9,
                      .spend_cap_micros = 11};
  Ecolink__V1__KeyEntry *e = registry_key_entry(arena, &key);
  assert_string_equal(e->key_id, "key_1");
  assert_string_equal(e->account_id, "acc_1");
  assert_string_equal(e->member_id, "mem_1");
  assert_int_equal(e->role, ECOLINK__V1__ROLE__ROLE_MEMBER);
  assert_int_equal(e->rate_limit_per_minute, 7);
  assert_int_equal(e->expires_at_us, 9);
  assert_int_equal(e->spend_cap_micros, 11);
  assert_false(e->revoked);
  key.revoked_at_us = 1;
  assert_true(registry_key_entry(arena, &key)->revoked);
  eco_arena_free(arena);
}

static void test_dead_keys_stay_listed_for_thirty_days(void **state) {
  (void)state;
  for (int days = 0; days < 60; days++) {
    registry_key revoked = {.revoked_at_us = NOW - days * DAY_US};
    registry_key expired = {.expires_at_us = NOW - days * DAY_US};
    assert_int_equal(registry_key_is_listed(&revoked, NOW), days <= REGISTRY_KEY_TOMBSTONE_DAYS);
    assert_int_equal(registry_key_is_listed(&expired, NOW), days <= REGISTRY_KEY_TOMBSTONE_DAYS);
  }
  registry_key live = {.expires_at_us = NOW + DAY_US};
  assert_true(registry_key_is_listed(&live, NOW));
}

static void test_an_invite_lives_fourteen_days(void **state) {
  (void)state;
  int64_t expires = registry_invite_expiry(NOW);
  assert_int_equal(expires, NOW + 14 * DAY_US);
  assert_true(eco_ok(registry_invite_judge(expires, 0, NOW)));
  assert_true(eco_ok(registry_invite_judge(expires, 0, expires - 1)));
  assert_int_equal(registry_invite_judge(expires, 0, expires).code, ECO_WRONG_STATE);
  assert_int_equal(registry_invite_judge(expires, 0, expires + DAY_US).code, ECO_WRONG_STATE);
  assert_int_equal(registry_invite_judge(expires, NOW + 1, NOW + 2).code, ECO_WRONG_STATE);
}

static void test_invites_are_for_owners_and_members(void **state) {
  (void)state;
  for (int role = -1; role < 8; role++) {
    Ecolink__V1__Role given = ECOLINK__V1__ROLE__ROLE_UNSPECIFIED;
    eco_status st = registry_invite_role((Ecolink__V1__Role)role, &given);
    assert_int_equal(eco_ok(st), role >= 0 && role <= 2);
    if (eco_ok(st)) {
      assert_int_equal(given, role == 0 ? ECOLINK__V1__ROLE__ROLE_MEMBER : (Ecolink__V1__Role)role);
    }
  }
}

static void test_invite_tokens_are_recognised_by_form(void **state) {
  (void)state;
  char token[REGISTRY_INVITE_TOKEN_LEN + 1];
  registry_invite_token_new(token);
  assert_int_equal(strlen(token), REGISTRY_INVITE_TOKEN_LEN);
  assert_true(registry_invite_token_is(token));
  token[10] = 'U';
  assert_false(registry_invite_token_is(token));
  assert_false(registry_invite_token_is(""));
  assert_false(registry_invite_token_is("eco_short"));
}

static void test_the_last_owner_cannot_be_removed(void **state) {
  (void)state;
  for (int owners = 0; owners < 4; owners++) {
    assert_int_equal(eco_ok(registry_member_removal_judge(ECOLINK__V1__ROLE__ROLE_OWNER, owners)), owners >= 2);
    assert_true(eco_ok(registry_member_removal_judge(ECOLINK__V1__ROLE__ROLE_MEMBER, owners)));
  }
}

static void test_limits_of_lists_are_between_1_and_100(void **state) {
  (void)state;
  for (int32_t limit = -3; limit < 110; limit++) {
    registry_page page;
    eco_status st = registry_page_parse(limit, "", &page);
    assert_int_equal(eco_ok(st), limit >= 0 && limit <= 100);
    if (eco_ok(st)) {
      assert_int_equal(page.limit, limit == 0 ? 20 : limit);
      assert_int_equal(page.before_us, INT64_MAX);
    } else {
      assert_string_equal(st.param, "limit");
    }
  }
}

static void test_cursors_come_back_as_they_went(void **state) {
  (void)state;
  const char *ids[] = {"mdl_0123456789abcdefghjkmnpqrs", "a/b.c-d_e", "x"};
  const int64_t times[] = {0, 1, 9, 16, NOW, INT64_MAX};
  for (size_t i = 0; i < 3; i++) {
    for (size_t t = 0; t < 6; t++) {
      char cursor[REGISTRY_CURSOR_MAX];
      registry_page page;
      registry_cursor_format(times[t], ids[i], cursor);
      assert_true(eco_ok(registry_page_parse(5, cursor, &page)));
      assert_int_equal(page.before_us, times[t]);
      assert_string_equal(page.before_id, ids[i]);
    }
  }
}

static void test_what_no_list_returned_is_no_cursor(void **state) {
  (void)state;
  const char *bad[] = {"x",     "12",   "12~",    "~a",    "-1~a",  " 1~a", "1 ~a",  "0fffffffffffffffff~a",
                       "1~a b", "1~a'", "1~\xff", "abc~d", "1~a\n", "0~a",  "0x5~a", "5~a",
                       "005~a", "0AB~a"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    registry_page page;
    eco_status st = registry_page_parse(5, bad[i], &page);
    if (eco_ok(st)) {
      fail_msg("'%s' is no cursor", bad[i]);
    }
    assert_string_equal(st.param, "cursor");
  }
  char long_cursor[400];
  memset(long_cursor, 'a', sizeof long_cursor);
  memcpy(long_cursor, "01~", 3);
  long_cursor[399] = '\0';
  registry_page page;
  assert_false(eco_ok(registry_page_parse(5, long_cursor, &page)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_key_has_documented_defaults),
      cmocka_unit_test(test_an_account_gives_three_roles),
      cmocka_unit_test(test_expiry_lies_in_the_future),
      cmocka_unit_test(test_rate_limit_and_cap_are_bounded),
      cmocka_unit_test(test_a_minted_key_is_shown_once_and_stored_as_its_hash),
      cmocka_unit_test(test_what_is_no_key_is_not_adopted),
      cmocka_unit_test(test_the_bucket_entry_says_who_and_whether_revoked),
      cmocka_unit_test(test_dead_keys_stay_listed_for_thirty_days),
      cmocka_unit_test(test_an_invite_lives_fourteen_days),
      cmocka_unit_test(test_invites_are_for_owners_and_members),
      cmocka_unit_test(test_invite_tokens_are_recognised_by_form),
      cmocka_unit_test(test_the_last_owner_cannot_be_removed),
      cmocka_unit_test(test_limits_of_lists_are_between_1_and_100),
      cmocka_unit_test(test_cursors_come_back_as_they_went),
      cmocka_unit_test(test_what_no_list_returned_is_no_cursor),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
