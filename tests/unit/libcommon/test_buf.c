// The bounded buffer and its JSON strings, judged by a JSON parser that is not ours.
#include <stdio.h>
#include <string.h>
#include <yyjson.h>

#include "ecolink/buf.h"
#include "gen.h"

static void test_nothing_is_added_beyond_the_maximum(void **state) {
  (void)state;
  gen g = {3};
  for (int round = 0; round < 500; round++) {
    size_t max = (size_t)gen_range(&g, 0, 2000);
    eco_buf b;
    eco_buf_init(&b, max);
    char model[2001];
    size_t len = 0;
    for (int i = 0; i < 40; i++) {
      char piece[200];
      size_t n = (size_t)gen_range(&g, 0, sizeof(piece));
      memset(piece, 'a' + i % 26, sizeof(piece));
      bool fits = len + n <= max;
      assert_int_equal(eco_buf_append(&b, piece, n), fits);
      if (fits) {
        memcpy(model + len, piece, n);
        len += n;
      }
      assert_int_equal(b.len, len);
    }
    if (len > 0) {
      assert_memory_equal(b.data, model, len);
      assert_int_equal(b.data[len], '\0');
    }
    assert_true(b.cap <= max + 1 || b.cap <= 256);
    eco_buf_free(&b);
    assert_null(b.data);
    assert_int_equal(b.max, max);
  }
}

static void test_a_buffer_can_be_filled_to_the_last_byte(void **state) {
  (void)state;
  eco_buf b;
  eco_buf_init(&b, 5);
  assert_true(eco_buf_puts(&b, "ab"));
  assert_true(eco_buf_printf(&b, "%d", 123));
  assert_string_equal(b.data, "ab123");
  assert_false(eco_buf_putc(&b, '4'));
  assert_false(eco_buf_printf(&b, "%s", "4"));
  assert_true(eco_buf_puts(&b, ""));
  assert_string_equal(b.data, "ab123");
  eco_buf_reset(&b);
  assert_int_equal(b.len, 0);
  assert_true(eco_buf_putc(&b, 'z'));
  assert_string_equal(b.data, "z");
  eco_buf_free(&b);
}

static void test_json_escapes_what_json_forbids(void **state) {
  (void)state;
  eco_buf b;
  eco_buf_init(&b, 1000);
  assert_true(eco_buf_json_string(&b, "a\"b\\c\n\r\t\b\f\x01\x7F/", 13));
  assert_string_equal(b.data, "\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0001\x7F/\"");
  eco_buf_reset(&b);
  assert_true(eco_buf_json_string(&b, "a\0b", 3));
  assert_string_equal(b.data, "\"a\\u0000b\"");
  eco_buf_reset(&b);
  assert_true(eco_buf_json_string(&b, NULL, 0));
  assert_string_equal(b.data, "\"\"");
  eco_buf_free(&b);
}

static void test_invalid_utf8_becomes_the_replacement_character(void **state) {
  (void)state;
  const struct {
    const char *in;
    const char *out;
  } cases[] = {
      {"\xFF", "\"\xEF\xBF\xBD\""},
      {"a\xC3", "\"a\xEF\xBF\xBD\""},                // cut off
      {"\xC0\xAF", "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},  // overlong '/'
      {"\xE0\x80\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
      {"\xED\xA0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},                  // surrogate
      {"\xF4\x90\x80\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},  // beyond U+10FFFF
      {"\x80z", "\"\xEF\xBF\xBDz\""},
      {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\""},
      {"\xF4\x8F\xBF\xBF", "\"\xF4\x8F\xBF\xBF\""},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    eco_buf b;
    eco_buf_init(&b, 100);
    assert_true(eco_buf_json_string(&b, cases[i].in, strlen(cases[i].in)));
    assert_string_equal(b.data, cases[i].out);
    eco_buf_free(&b);
  }
}

static void test_any_bytes_make_a_string_that_a_json_parser_reads(void **state) {
  (void)state;
  gen g = {4};
  for (int round = 0; round < 20000; round++) {
    char in[64];
    size_t n = (size_t)gen_range(&g, 0, sizeof(in));
    int flavour = (int)(gen_u64(&g) % 3);
    for (size_t i = 0; i < n; i++) {
      uint64_t r = gen_u64(&g);
      in[i] = (char)(flavour == 0 ? r : flavour == 1 ? r % 128 : 0x80 + r % 128);
    }
    eco_buf b;
    eco_buf_init(&b, 1000);
    assert_true(eco_buf_json_string(&b, in, n));
    yyjson_doc *doc = yyjson_read(b.data, b.len, 0);
    assert_non_null(doc);
    assert_true(yyjson_is_str(yyjson_doc_get_root(doc)));
    if (flavour == 1) {
      assert_int_equal(yyjson_get_len(yyjson_doc_get_root(doc)), n);
      assert_memory_equal(yyjson_get_str(yyjson_doc_get_root(doc)), in, n);
    }
    yyjson_doc_free(doc);
    eco_buf_free(&b);
  }
}

static void test_a_json_string_that_does_not_fit_leaves_the_buffer_as_it_was(void **state) {
  (void)state;
  for (size_t max = 3; max < 14; max++) {
    eco_buf b;
    eco_buf_init(&b, max);
    assert_true(eco_buf_puts(&b, "[x"));
    assert_false(eco_buf_json_string(&b, "ab\ncdefgh\n", 10));
    assert_string_equal(b.data, "[x");
    assert_int_equal(b.len, 2);
    eco_buf_free(&b);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_nothing_is_added_beyond_the_maximum),
      cmocka_unit_test(test_a_buffer_can_be_filled_to_the_last_byte),
      cmocka_unit_test(test_json_escapes_what_json_forbids),
      cmocka_unit_test(test_invalid_utf8_becomes_the_replacement_character),
      cmocka_unit_test(test_any_bytes_make_a_string_that_a_json_parser_reads),
      cmocka_unit_test(test_a_json_string_that_does_not_fit_leaves_the_buffer_as_it_was),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
