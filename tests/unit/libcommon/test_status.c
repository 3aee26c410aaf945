// eco_status and the table of public error codes.
#include <string.h>

#include "ecolink/status.h"
#include "gen.h"

static void test_every_code_has_one_word_that_leads_back_to_it(void **state) {
  (void)state;
  for (int code = 0; code < ECO_CODE_COUNT; code++) {
    assert_int_equal(eco_code_from_word(eco_code_word((eco_code)code)), code);
  }
  assert_int_equal(eco_code_from_word(""), ECO_OK);
  assert_int_equal(eco_code_from_word("no_such_word"), ECO_INTERNAL);
  assert_int_equal(eco_code_from_word(NULL), ECO_INTERNAL);
}

static void test_http_status_and_type_follow_the_documented_table(void **state) {
  (void)state;
  assert_int_equal(eco_code_http(ECO_OK), 200);
  assert_int_equal(eco_code_http(ECO_UNAUTHORIZED), 401);
  assert_int_equal(eco_code_http(ECO_INSUFFICIENT_BALANCE), 402);
  assert_int_equal(eco_code_http(ECO_UPSTREAM_TIMEOUT), 504);
  assert_string_equal(eco_code_word(ECO_RATE_LIMIT_EXCEEDED), "rate_limit_exceeded");
  assert_string_equal(eco_code_type(ECO_FORBIDDEN), "permission_error");
  for (int code = 1; code < ECO_CODE_COUNT; code++) {
    int http = eco_code_http((eco_code)code);
    assert_true(http >= 400 && http <= 504);
    assert_true(strlen(eco_code_type((eco_code)code)) > 0);
  }
}

static void test_a_code_outside_the_table_reads_as_internal(void **state) {
  (void)state;
  assert_int_equal(eco_code_http((eco_code)(ECO_CODE_COUNT + 5)), 500);
  assert_string_equal(eco_code_word((eco_code)-3), "internal");
}

static void test_only_trouble_that_passes_by_itself_is_transient(void **state) {
  (void)state;
  const eco_code transient[] = {ECO_CONTROL_PLANE_UNAVAILABLE, ECO_OVERLOADED,          ECO_UPSTREAM_ERROR,
                                ECO_UPSTREAM_TIMEOUT,          ECO_RATE_LIMIT_EXCEEDED, ECO_IN_PROGRESS};
  for (size_t i = 0; i < sizeof(transient) / sizeof(transient[0]); i++) {
    assert_true(eco_code_is_transient(transient[i]));
  }
  const eco_code final[] = {ECO_OK,
                            ECO_INTERNAL,
                            ECO_INSUFFICIENT_BALANCE,
                            ECO_INSUFFICIENT_CAPACITY,
                            ECO_NAME_TAKEN,
                            ECO_INVALID_REQUEST,
                            ECO_NOT_FOUND,
                            ECO_WRONG_STATE};
  for (size_t i = 0; i < sizeof(final) / sizeof(final[0]); i++) {
    assert_false(eco_code_is_transient(final[i]));
  }
}

static void test_context_goes_before_the_message_and_keeps_code_and_param(void **state) {
  (void)state;
  eco_status st = eco_error_param(ECO_INVALID_REQUEST, "gpu_count", "must be at least %d", 1);
  st = eco_context(st, "launch of %s", "my-llama");
  assert_int_equal(st.code, ECO_INVALID_REQUEST);
  assert_string_equal(st.param, "gpu_count");
  assert_string_equal(st.message, "launch of my-llama: must be at least 1");
}

static void test_context_leaves_success_alone(void **state) {
  (void)state;
  eco_status st = eco_context(eco_success(), "anything");
  assert_true(eco_ok(st));
  assert_string_equal(st.message, "");
}

static bool is_valid_utf8(const char *s) {
  for (const unsigned char *p = (const unsigned char *)s; *p != '\0';) {
    int more = *p < 0x80 ? 0 : (*p & 0xE0) == 0xC0 ? 1 : (*p & 0xF0) == 0xE0 ? 2 : (*p & 0xF8) == 0xF0 ? 3 : -1;
    if (more < 0) {
      return false;
    }
    p++;
    for (; more > 0; more--, p++) {
      if ((*p & 0xC0) != 0x80) {
        return false;
      }
    }
  }
  return true;
}

static void test_a_long_message_is_cut_between_characters(void **state) {
  (void)state;
  const char *const letters[] = {"a", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"};
  gen g = {1};
  for (int round = 0; round < 2000; round++) {
    char text[ECO_STATUS_MESSAGE_MAX * 2] = "";
    size_t len = 0;
    while (len < ECO_STATUS_MESSAGE_MAX + 8) {
      const char *letter = letters[gen_u64(&g) % 4];
      memcpy(text + len, letter, strlen(letter) + 1);
      len += strlen(letter);
    }
    eco_status st = eco_error_param(ECO_INTERNAL, text, "%s", text);
    assert_true(is_valid_utf8(st.message));
    assert_true(is_valid_utf8(st.param));
    assert_true(strlen(st.message) >= ECO_STATUS_MESSAGE_MAX - 4);
    assert_memory_equal(st.message, text, strlen(st.message));
    st = eco_context(eco_error(ECO_INTERNAL, "%s", text), "at");
    assert_true(is_valid_utf8(st.message));
  }
}

static eco_status fail_through_try(void) {
  ECO_TRY(eco_success());
  ECO_TRY(eco_error(ECO_IN_USE, "first"));
  return eco_error(ECO_INTERNAL, "never reached");
}

static eco_status fail_through_goto(int *cleaned) {
  eco_status st = eco_success();
  ECO_TRY_GOTO(eco_error(ECO_TOO_LARGE, "first"));
  return eco_success();
cleanup:
  *cleaned += 1;
  return st;
}

static void test_try_returns_the_first_failure(void **state) {
  (void)state;
  assert_int_equal(fail_through_try().code, ECO_IN_USE);
  int cleaned = 0;
  assert_int_equal(fail_through_goto(&cleaned).code, ECO_TOO_LARGE);
  assert_int_equal(cleaned, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_code_has_one_word_that_leads_back_to_it),
      cmocka_unit_test(test_http_status_and_type_follow_the_documented_table),
      cmocka_unit_test(test_a_code_outside_the_table_reads_as_internal),
      cmocka_unit_test(test_only_trouble_that_passes_by_itself_is_transient),
      cmocka_unit_test(test_context_goes_before_the_message_and_keeps_code_and_param),
      cmocka_unit_test(test_context_leaves_success_alone),
      cmocka_unit_test(test_a_long_message_is_cut_between_characters),
      cmocka_unit_test(test_try_returns_the_first_failure),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
