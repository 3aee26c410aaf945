// The multipart finder: every body at every split position.
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "multipart_finder.h"

#define PART(disposition) "\r\nContent-Disposition: form-data; " disposition "\r\n\r\n"
#define TYPE "multipart/form-data; boundary=XX"
static const struct {
  const char *body;
  gw_find_error error;
  const char *name;
} SAMPLES[] = {
    {"--XX" PART("name=\"model\"") "a:1\r\n--XX--\r\n", GW_FIND_OK, "a:1"},
    {"--XX" PART("name=model") "a:1\r\n--XX--", GW_FIND_OK, "a:1"},
    {"preamble\r\n--XX" PART("name=\"model\"") "a:1\r\n--XX--\r\nepilogue --XX\r\n--XX", GW_FIND_OK, "a:1"},
    {"--XX \t" PART("name=\"file\"; filename=\"model\"") "bytes\r\n-\r\n--X\r\r\n--\r\n--XX" PART(
         "name=\"model\"") "a:1\r\n--XX--",
     GW_FIND_OK, "a:1"},
    {"--XX" PART("name=\"model\"") "a:1\r\n--XX" PART("name=\"file\"; filename=x") "a\r\n--XY\r\n--XX--", GW_FIND_OK,
     "a:1"},
    {"--XX" PART("name=\"model\"") "\r\n-\r\n--X\r\n\r\n--XX--", GW_FIND_OK, "\r\n-\r\n--X\r\n"},
    {"--XX" PART("name=\"model\"") "\r\n--XX--", GW_FIND_OK, ""},
    {"--XX" PART("name=\"model\"") "--XX--", GW_FIND_OK, ""},
    {"--XX" PART("name=\"model\"") "--XY\r\n--XX--", GW_FIND_OK, "--XY"},
    {"--XX\r\nX: y\r\ncontent-DISPOSITION:form-data;NAME=\"mod\\el\"\r\n\r\na\r\n--XX--", GW_FIND_OK, "a"},
    {"--XX" PART("name=\"a; name=model\"") "no\r\n--XX" PART("name=\"model\"") "a\r\n--XX--", GW_FIND_OK, "a"},
    {"--XX" PART("name=\"x\"") "1\r\n--XX--", GW_FIND_MISSING, NULL},
    {"--XX" PART("name=\"modela\"") "1\r\n--XX--", GW_FIND_MISSING, NULL},
    {"--XX--", GW_FIND_MISSING, NULL},
    {"--XX" PART("name=\"model\"") "a\r\n--XX" PART("name=\"model\"") "a\r\n--XX--", GW_FIND_DUPLICATE, NULL},
    {"--XX" PART("name=\"model\"; filename=\"f\"") "a\r\n--XX--", GW_FIND_FILENAME, NULL},
    {"--XX" PART("filename*=UTF-8''f; name=\"model\"") "a\r\n--XX--", GW_FIND_FILENAME, NULL},
    {"", GW_FIND_MULTIPART, NULL},
    {"--XX" PART("name=\"model\"") "a:1", GW_FIND_MULTIPART, NULL},
    {"--XX" PART("name=\"model\"") "a:1\r\n--XX", GW_FIND_MULTIPART, NULL},
    {"--XX" PART("name=\"model\"") "a:1\r\n--XXY\r\n--XX--", GW_FIND_MULTIPART, NULL},
    {"--XX" PART("name=\"model\"") "a:1\r\n--XX-x", GW_FIND_MULTIPART, NULL},
    {"--XX\r\nContent-Disposition: form-data;\r\n name=\"model\"\r\n\r\na\r\n--XX--", GW_FIND_MULTIPART, NULL},
    {"--XX\nContent-Disposition: form-data; name=\"model\"\n\na\n--XX--", GW_FIND_MULTIPART, NULL},
    {"nothing here", GW_FIND_MULTIPART, NULL},
};

static void feed_exact(gw_multipart_finder *f, const char *p, size_t n) {
  char *copy = malloc(n ? n : 1);
  assert_non_null(copy);
  memcpy(copy, p, n);
  (void)gw_multipart_finder_feed(f, copy, n);
  free(copy);
}

static void judge(gw_multipart_finder *f, size_t i) {
  gw_find_error got = gw_multipart_finder_finish(f);
  if (got != SAMPLES[i].error) {
    fail_msg("body %s: error %d, expected %d", SAMPLES[i].body, got, SAMPLES[i].error);
  }
  if (got == GW_FIND_OK) {
    assert_int_equal(f->name_len, strlen(SAMPLES[i].name));
    assert_memory_equal(f->name, SAMPLES[i].name, f->name_len);
    assert_int_equal(f->value_end - f->value_start, f->name_len);
    assert_memory_equal(SAMPLES[i].body + f->value_start, SAMPLES[i].name, f->name_len);
  }
}

static void test_every_body_is_judged_the_same_at_every_split(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof SAMPLES / sizeof SAMPLES[0]; i++) {
    size_t len = strlen(SAMPLES[i].body);
    for (size_t a = 0; a <= len; a++) {
      for (size_t b = a; b <= len; b++) {
        gw_multipart_finder f;
        assert_true(gw_multipart_finder_init(&f, TYPE, strlen(TYPE)));
        feed_exact(&f, SAMPLES[i].body, a);
        feed_exact(&f, SAMPLES[i].body + a, b - a);
        feed_exact(&f, SAMPLES[i].body + b, len - b);
        judge(&f, i);
      }
    }
  }
}

static void test_boundaries_are_read_from_the_content_type(void **state) {
  (void)state;
  static const struct {
    const char *type;
    const char *boundary;  // NULL: refused
  } TYPES[] = {
      {"multipart/form-data; boundary=abc", "abc"},
      {"Multipart/Form-Data;boundary=\"a b(c)\"", "a b(c)"},
      {"multipart/form-data; charset=utf-8; BOUNDARY=abc; x=y", "abc"},
      {"multipart/form-data; boundary=\"a\\bc\"", "abc"},
      {"multipart/form-data", NULL},
      {"multipart/form-data; boundary=", NULL},
      {"multipart/form-data; boundary=\"abc", NULL},
      {"multipart/form-data; boundary=a; boundary=b", NULL},
      {"multipart/form-data; boundary=\"a \"", NULL},
      {"multipart/form-data; boundary=\"a\tb\"", NULL},
      {"multipart/form-data; boundary=01234567890123456789012345678901234567890123456789012345678901234567890", NULL},
      {"multipart/mixed; boundary=abc", NULL},
  };
  for (size_t i = 0; i < sizeof TYPES / sizeof TYPES[0]; i++) {
    gw_multipart_finder f;
    bool ok = gw_multipart_finder_init(&f, TYPES[i].type, strlen(TYPES[i].type));
    assert_int_equal(ok, TYPES[i].boundary != NULL);
    if (ok) {
      assert_int_equal(f.delim_len, 4 + strlen(TYPES[i].boundary));
      assert_memory_equal(f.delim + 4, TYPES[i].boundary, strlen(TYPES[i].boundary));
    }
  }
}

static void test_parts_and_part_headers_are_bounded(void **state) {
  (void)state;
  static const char NEXT[] = "\r\n\r\nx\r\n--XX";
  gw_multipart_finder f;
  assert_true(gw_multipart_finder_init(&f, TYPE, strlen(TYPE)));
  assert_true(gw_multipart_finder_feed(&f, "--XX", 4));
  for (int i = 0; i < GW_PARTS_MAX; i++) {
    assert_true(gw_multipart_finder_feed(&f, NEXT, sizeof NEXT - 1));
  }
  assert_false(gw_multipart_finder_feed(&f, NEXT, sizeof NEXT - 1));
  assert_int_equal(f.error, GW_FIND_PARTS);
  assert_true(gw_multipart_finder_init(&f, TYPE, strlen(TYPE)));
  assert_true(gw_multipart_finder_feed(&f, "--XX\r\n", 6));
  size_t fed = 0;
  while (gw_multipart_finder_feed(&f, "X: yyyyyyyyyyyyyyyyyyyyyy\r\n", 27)) {
    fed += 27;
  }
  assert_int_equal(f.error, GW_FIND_PARTS);
  assert_true(fed <= GW_PART_HEADERS_MAX && fed > GW_PART_HEADERS_MAX - 60);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_body_is_judged_the_same_at_every_split),
      cmocka_unit_test(test_boundaries_are_read_from_the_content_type),
      cmocka_unit_test(test_parts_and_part_headers_are_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
