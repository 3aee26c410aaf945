// The vector skips against a reading byte by byte, at every length, alignment and cut.
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "scan.h"

enum { ROOM = 400 };

static size_t plainly(const uint8_t *p, size_t n, bool *escape) {
  for (size_t i = 0; i < n; i++) {
    if (*escape) {
      *escape = false;
    } else if (p[i] == '\\') {
      *escape = true;
    } else if (p[i] == '"') {
      return i;
    }
  }
  return n;
}

// Quotes and backslashes are as dense as `of` says: one in so many bytes.
static void fill(uint8_t *p, size_t n, int of) {
  for (size_t i = 0; i < n; i++) {
    int dice = rand() % of;
    p[i] = dice == 0 ? '\\' : dice == 1 ? '"' : (uint8_t)('a' + dice % 20);
  }
}

static void test_strings_end_where_they_end_byte_by_byte(void **state) {
  (void)state;
  uint8_t text[ROOM];
  srand(7);
  for (int round = 0; round < 20000; round++) {
    size_t from = (size_t)rand() % 64;
    size_t n = (size_t)rand() % (ROOM - from);
    bool before = rand() % 2;
    bool ours = before;
    bool theirs = before;
    fill(text, sizeof text, 3 + rand() % 120);
    assert_int_equal(gw_skip_string(text + from, n, &ours), plainly(text + from, n, &theirs));
    assert_int_equal(ours, theirs);
  }
}

static void test_a_run_of_backslashes_crosses_every_boundary(void **state) {
  (void)state;
  uint8_t text[ROOM];
  for (size_t at = 0; at < 200; at++) {
    for (size_t run = 1; run < 140; run++) {
      bool escape = false;
      memset(text, 'x', sizeof text);
      memset(text + at, '\\', run);
      text[at + run] = '"';
      text[at + run + 1] = '"';
      assert_int_equal(gw_skip_string(text, sizeof text, &escape), at + run + (run % 2));
    }
  }
}

static void test_plain_bytes_end_at_a_quote_or_a_backslash(void **state) {
  (void)state;
  uint8_t text[ROOM];
  srand(9);
  for (int round = 0; round < 5000; round++) {
    size_t n = (size_t)rand() % ROOM;
    fill(text, sizeof text, 3 + rand() % 120);
    size_t i = 0;
    while (i < n && text[i] != '"' && text[i] != '\\') {
      i++;
    }
    assert_int_equal(gw_skip_plain(text, n), i);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_strings_end_where_they_end_byte_by_byte),
      cmocka_unit_test(test_a_run_of_backslashes_crosses_every_boundary),
      cmocka_unit_test(test_plain_bytes_end_at_a_quote_or_a_backslash),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
