// The event stream reader: the same events whatever the pieces.
#include <stdio.h>
#include <string.h>

#include "../libcommon/gen.h"
#include "sse.h"

typedef struct seen {
  char text[4096];  // "event|data;" for each event
  size_t len;
  int stop_after;
  int count;
} seen;

static bool note(void *arg, const char *event, const char *data, size_t len) {
  seen *s = arg;
  assert_int_equal(strlen(data), len);
  s->len += (size_t)snprintf(s->text + s->len, sizeof(s->text) - s->len, "%s|%s;", event, data);
  return ++s->count != s->stop_after;
}

static void assert_events(const char *stream, size_t len, const char *want) {
  gen g = {41};
  for (int round = 0; round < 60; round++) {
    seen s = {.len = 0};
    cli_sse sse;
    cli_sse_init(&sse, note, &s);
    for (size_t i = 0; i < len;) {
      size_t n = round == 0 ? len : (size_t)gen_range(&g, 1, round == 1 ? 1 : 9);
      n = n > len - i ? len - i : n;
      char piece[4096];  // a copy of its own, so that reading beyond it is seen
      memcpy(piece, stream + i, n);
      assert_true(cli_sse_feed(&sse, piece, n));
      i += n;
    }
    assert_string_equal(s.text, want);
    cli_sse_free(&sse);
  }
}

static void test_events_are_the_same_in_any_pieces(void **state) {
  (void)state;
  const struct {
    const char *stream;
    const char *want;
  } cases[] = {
      {"data: a\n\n", "|a;"},
      {"data: a\r\n\r\n", "|a;"},
      {"data: a\r\rdata: b\r\r", "|a;|b;"},
      {"data:a\n\n", "|a;"},
      {"data:  a\n\n", "| a;"},
      {"data: a\ndata: b\n\n", "|a\nb;"},
      {"data: a\r\ndata: b\r\n\r\n", "|a\nb;"},
      {"data\n\n", "|;"},
      {"data: \n\n", "|;"},
      {"event: end\ndata: {}\n\n", "end|{};"},
      {"event: lost\n\ndata: a\n\n", "|a;"},
      {": comment\n\ndata: a\n: more\n\n", "|a;"},
      {"id: 7\nretry: 10\nother\ndata: a\n\n", "|a;"},
      {"\xEF\xBB\xBF"
       "data: a\n\n",
       "|a;"},
      {"data: a\n\n\n\ndata: [DONE]\n\n", "|a;|[DONE];"},
      {"data: unfinished", ""},
      {"data: unfinished\n", ""},
      {"databit: x\n\n", ""},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    assert_events(cases[i].stream, strlen(cases[i].stream), cases[i].want);
  }
}

static void test_reading_ends_when_it_is_told_to(void **state) {
  (void)state;
  seen s = {.stop_after = 2};
  cli_sse sse;
  cli_sse_init(&sse, note, &s);
  const char *stream = "data: 1\n\ndata: 2\n\ndata: 3\n\n";
  assert_false(cli_sse_feed(&sse, stream, strlen(stream)));
  assert_false(cli_sse_feed(&sse, stream, strlen(stream)));
  assert_string_equal(s.text, "|1;|2;");
  cli_sse_free(&sse);
}

static void test_a_line_without_end_is_bounded(void **state) {
  (void)state;
  seen s = {.len = 0};
  cli_sse sse;
  cli_sse_init(&sse, note, &s);
  char filler[65536];
  memset(filler, 'x', sizeof(filler));
  int pieces = 0;
  while (pieces < 100 && cli_sse_feed(&sse, filler, sizeof(filler))) {
    pieces++;
  }
  assert_int_equal(pieces, CLI_SSE_LINE_MAX / (int)sizeof(filler));
  assert_int_equal(s.count, 0);
  cli_sse_free(&sse);
}

static void test_an_event_of_endless_lines_is_bounded(void **state) {
  (void)state;
  seen s = {.len = 0};
  cli_sse sse;
  cli_sse_init(&sse, note, &s);
  char line[1024];
  memset(line, 'x', sizeof(line));
  memcpy(line, "data:", 5);
  line[sizeof(line) - 1] = '\n';
  int lines = 0;
  while (lines < 5000 && cli_sse_feed(&sse, line, sizeof(line))) {
    lines++;
  }
  assert_true(lines < 1100);
  cli_sse_free(&sse);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_events_are_the_same_in_any_pieces),
      cmocka_unit_test(test_reading_ends_when_it_is_told_to),
      cmocka_unit_test(test_a_line_without_end_is_bounded),
      cmocka_unit_test(test_an_event_of_endless_lines_is_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
