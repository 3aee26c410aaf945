// The model finder: every body at every split position.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "model_finder.h"

typedef struct sample {
  const char *body;
  size_t len;  // 0: strlen
  gw_find_error error;
  const char *name;
} sample;

#define OK_(text, model) \
  { .body = (text), .name = (model) }
#define BAD(text, what) \
  { .body = (text), .error = (what) }
static const sample SAMPLES[] = {
    OK_("{\"model\":\"a:1\"}", "a:1"),
    OK_(" \r\n\t{ \"x\" : 1 , \"model\" : \"a:1\" } \n", "a:1"),
    OK_("{\"m\\u006fdel\":\"a\\u003a1\"}", "a:1"),
    OK_("{\"\\u006d\\u006F\\u0064\\u0065\\u006c\":\"x\"}", "x"),
    OK_("{\"mode\":\"no\",\"models\":\"no\",\"Model\":\"no\",\"model\":\"yes\"}", "yes"),
    OK_("{\"a\":{\"model\":\"no\"},\"b\":[{\"model\":1}],\"model\":\"yes\"}", "yes"),
    OK_("{\"a\":\"\\\"model\\\":\\\"no\\\"\",\"model\":\"yes\"}", "yes"),
    OK_("{\"a\":\"\\\\\",\"model\":\"yes\"}", "yes"),
    OK_("{\"model\":\"\\ud83d\\ude00 \\u00e9 \\u4e2d \\n\\t\\\"\\\\\\/\"}",
        "\xf0\x9f\x98\x80 \xc3\xa9 \xe4\xb8\xad \n\t\"\\/"),
    OK_("{\"model\":\"\"}", ""),
    OK_("\xef\xbb\xbf{\"model\":\"bom\"}", "bom"),
    OK_("{\"n\":1e400,\"t\":true,\"f\":false,\"z\":null,\"m\":-0.5e-3,\"model\":\"x\"}", "x"),
    OK_("{\"a\":\"invalid \xff\xfe utf-8\",\"model\":\"x\",\"\xff\":1}", "x"),
    OK_("{\"model\":\"x\",\"a\":[[[[{}]]]]}", "x"),
    OK_("{\"a\":\"0123456789abcde\\\"0123456789abcdef0123456789abcdef\\\\\",\"model\":\"x\"}", "x"),
    BAD("", GW_FIND_INVALID_JSON),
    BAD("   ", GW_FIND_INVALID_JSON),
    BAD("{", GW_FIND_INVALID_JSON),
    BAD("{\"model\":\"a", GW_FIND_INVALID_JSON),
    BAD("{\"model\":\"a\"", GW_FIND_INVALID_JSON),
    BAD("{\"model\":\"a\"}x", GW_FIND_INVALID_JSON),
    BAD("{\"model\":\"a\"}{}", GW_FIND_INVALID_JSON),
    BAD("{\"model\" \"a\"}", GW_FIND_INVALID_JSON),
    BAD("{model:\"a\"}", GW_FIND_INVALID_JSON),
    BAD("{\"a\":1,}", GW_FIND_INVALID_JSON),
    BAD("{,\"model\":\"a\"}", GW_FIND_INVALID_JSON),
    BAD("{\"a\":}", GW_FIND_INVALID_JSON),
    BAD("{\"model\":\"\\x\"}", GW_FIND_INVALID_JSON),
    BAD("{\"model\":\"\\u12g4\"}", GW_FIND_INVALID_JSON),
    BAD("{\"model\":\"\\ud800x\"}", GW_FIND_INVALID_JSON),
    BAD("{\"model\":\"\\udc00\"}", GW_FIND_INVALID_JSON),
    BAD("{\"model\":\"\\ud800\\u0041\"}", GW_FIND_INVALID_JSON),
    BAD("{\"model\":\"a\nb\"}", GW_FIND_INVALID_JSON),
    BAD("nonsense", GW_FIND_INVALID_JSON),
    BAD("\xef\xbb{}", GW_FIND_INVALID_JSON),
    BAD("[{\"model\":\"a\"}]", GW_FIND_NOT_OBJECT),
    BAD("\"model\"", GW_FIND_NOT_OBJECT),
    BAD("12", GW_FIND_NOT_OBJECT),
    BAD("{}", GW_FIND_MISSING),
    BAD("{\"a\":{\"model\":\"x\"}}", GW_FIND_MISSING),
    BAD("{\"model\":\"a\",\"model\":\"a\"}", GW_FIND_DUPLICATE),
    BAD("{\"model\":\"a\",\"x\":{},\"mod\\u0065l\":1}", GW_FIND_DUPLICATE),
    BAD("{\"model\":1}", GW_FIND_NOT_STRING),
    BAD("{\"model\":null}", GW_FIND_NOT_STRING),
    BAD("{\"model\":[\"a\"]}", GW_FIND_NOT_STRING),
    BAD("{\"model\":{\"model\":\"a\"}}", GW_FIND_NOT_STRING),
    {.body = "{\0\"\0m\0", .len = 6, .error = GW_FIND_ENCODING},
    {.body = "\xff\xfe{\0", .len = 4, .error = GW_FIND_ENCODING},
    {.body = "\xfe\xff\0{", .len = 4, .error = GW_FIND_ENCODING},
    {.body = "\0\0\0{", .len = 4, .error = GW_FIND_ENCODING},
};

static void judge(const gw_model_finder *f, gw_find_error got, const sample *s, size_t len) {
  if (got != s->error) {
    fail_msg("body %s: error %d, expected %d", s->body, got, s->error);
  }
  if (got != GW_FIND_OK) {
    return;
  }
  assert_int_equal(f->name_len, strlen(s->name));
  assert_memory_equal(f->name, s->name, f->name_len);
  assert_true(f->value_end <= len && f->value_start < f->value_end);
  assert_int_equal(s->body[f->value_start], '"');
  assert_int_equal(s->body[f->value_end - 1], '"');
}

// A copy in memory of its exact size, so that a sanitizer sees every overrun.
static void feed_exact(gw_model_finder *f, const char *p, size_t n) {
  char *copy = malloc(n ? n : 1);
  assert_non_null(copy);
  memcpy(copy, p, n);
  (void)gw_model_finder_feed(f, copy, n);
  free(copy);
}

static void test_every_body_is_judged_the_same_at_every_split(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof SAMPLES / sizeof SAMPLES[0]; i++) {
    const sample *s = &SAMPLES[i];
    size_t len = s->len ? s->len : strlen(s->body);
    for (size_t a = 0; a <= len; a++) {
      for (size_t b = a; b <= len; b++) {
        gw_model_finder f;
        gw_model_finder_init(&f);
        feed_exact(&f, s->body, a);
        feed_exact(&f, s->body + a, b - a);
        feed_exact(&f, s->body + b, len - b);
        judge(&f, gw_model_finder_finish(&f), s, len);
      }
    }
    gw_model_finder f;
    gw_model_finder_init(&f);
    for (size_t k = 0; k < len; k++) {
      feed_exact(&f, s->body + k, 1);
    }
    judge(&f, gw_model_finder_finish(&f), s, len);
  }
}

static void test_a_model_of_512_bytes_is_taken_and_513_is_not(void **state) {
  (void)state;
  for (size_t n = 510; n <= 514; n++) {
    char body[600];
    size_t len = 0;
    memcpy(body, "{\"model\":\"", 10);
    len = 10;
    memset(body + len, 'a', n);
    len += n;
    memcpy(body + len, "\"}", 2);
    len += 2;
    gw_model_finder f;
    gw_model_finder_init(&f);
    (void)gw_model_finder_feed(&f, body, len);
    assert_int_equal(gw_model_finder_finish(&f), n <= GW_MODEL_MAX ? GW_FIND_OK : GW_FIND_TOO_LONG);
  }
}

static void test_deep_nesting_costs_nothing_and_hides_nothing(void **state) {
  (void)state;
  enum { DEPTH = 1000000 };
  char *body = malloc(2 * DEPTH + 64);
  assert_non_null(body);
  memcpy(body, "{\"a\":", 5);
  memset(body + 5, '[', DEPTH);
  memset(body + 5 + DEPTH, ']', DEPTH);
  memcpy(body + 5 + 2 * DEPTH, ",\"model\":\"x\"}", 13);
  gw_model_finder f;
  gw_model_finder_init(&f);
  assert_true(gw_model_finder_feed(&f, body, 5 + 2 * DEPTH + 13));
  assert_int_equal(gw_model_finder_finish(&f), GW_FIND_OK);
  assert_int_equal(f.value_start, 5 + 2 * DEPTH + 9);
  free(body);
}

// Bodies put together at random from pieces whose verdict is known.
static void test_generated_objects_yield_their_model(void **state) {
  (void)state;
  static const char *const MEMBERS[] = {
      "\"a\":1",        "\"messages\":[{\"role\":\"user\",\"content\":\"\\\"model\\\":\\\"x\\\"\"}]",
      "\"b\":\"\\\\\"", "\"c\":{\"model\":{\"model\":[]}}",
      "\"d\":[]",       "\"modeL\":null",
      "\"\":\"\"",      "\"e\":\"0123456789abcdef0123456789abcdef\\\"}]\"",
  };
  srand(7);
  for (int round = 0; round < 20000; round++) {
    char body[2048] = "{";
    size_t n = (size_t)(rand() % 6);
    size_t at = (size_t)rand() % (n + 1);
    size_t len = 1;
    for (size_t i = 0; i <= n; i++) {
      const char *m =
          i == at ? "\"model\":\"my-llama:142\"" : MEMBERS[(size_t)rand() % (sizeof MEMBERS / sizeof MEMBERS[0])];
      len += (size_t)snprintf(body + len, sizeof body - len, "%s%s", i ? (rand() % 2 ? " ,\n" : ",") : "", m);
    }
    body[len++] = '}';
    gw_model_finder f;
    gw_model_finder_init(&f);
    for (size_t i = 0; i < len;) {
      size_t step = 1 + (size_t)rand() % 40;
      step = step < len - i ? step : len - i;
      assert_true(gw_model_finder_feed(&f, body + i, step));
      i += step;
    }
    assert_int_equal(gw_model_finder_finish(&f), GW_FIND_OK);
    assert_memory_equal(body + f.value_start, "\"my-llama:142\"", f.value_end - f.value_start);
  }
}

static void test_every_error_has_its_public_code(void **state) {
  (void)state;
  for (int e = GW_FIND_INVALID_JSON; e <= GW_FIND_FILENAME; e++) {
    eco_status st = gw_find_status((gw_find_error)e);
    assert_int_equal(eco_code_http(st.code), e == GW_FIND_INVALID_JSON ? 400 : 422);
    assert_true(strlen(st.message) > 10);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_body_is_judged_the_same_at_every_split),
      cmocka_unit_test(test_a_model_of_512_bytes_is_taken_and_513_is_not),
      cmocka_unit_test(test_deep_nesting_costs_nothing_and_hides_nothing),
      cmocka_unit_test(test_generated_objects_yield_their_model),
      cmocka_unit_test(test_every_error_has_its_public_code),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
