// The event stream reader at every split: where events end, when content begins, what usage says.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "cmocka_all.h"
#include "sse.h"

typedef struct sample {
  const char *text;
  bool content;
  bool done;
  int64_t prompt;
  int64_t completion;
  unsigned events;
  const char *rest;  // what no event has completed
} sample;

#define ROLE \
  "data: "   \
  "{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[]},\"finish_reason\":null}]}\n\n"
static const sample SAMPLES[] = {
    {ROLE, false, false, -1, -1, 1, ""},
    {ROLE ": ping\n\n", false, false, -1, -1, 1, ""},
    {ROLE "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n", true, false, -1, -1, 2, ""},
    {"data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}", false, false, -1, -1, 0,
     "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}"},
    {"data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n", false, false, -1, -1, 0,
     "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n"},
    {"data:{\"choices\":[{\"delta\":{\"content\":\"\\\"\"}}]}\r\n\r\n", true, false, -1, -1, 1, ""},
    {"data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"name\":\"f\"}}]}}]}\n\n", true, false, -1, -1, 1,
     ""},
    {"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n", true, false, -1, -1, 1, ""},
    {"data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n", true, false, -1, -1, 1, ""},
    {"data: {\"choices\":[{\"text\":\"x\"}]}\n\n", true, false, -1, -1, 1, ""},
    {"data: {\"error\":{\"message\":\"no\"}}\n\n", true, false, -1, -1, 1, ""},
    {"data: {\"error\":null,\"choices\":[]}\n\n", false, false, -1, -1, 1, ""},
    {"data: [DONE]\n\n", true, true, -1, -1, 1, ""},
    {"data: [DONE]x\n\n", true, false, -1, -1, 1, ""},
    {"data: "
     "{\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":345,\"prompt_tokens_details\":{\"prompt_"
     "tokens\":9}}}\n\ndata: [DONE]\n\n",
     true, true, 12, 345, 2, ""},
    {"data: {\"usage\":null}\n\n", false, false, -1, -1, 1, ""},
    {"event: response.completed\ndata: "
     "{\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}}\n\n",
     false, false, 1, 2, 1, ""},
    {"event: message_start\ndata: "
     "{\"type\":\"message_start\",\"message\":{\"content\":[],\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n"
     "event: message_delta\ndata: "
     "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}\n\n",
     true, false, 7, 15, 2, ""},
    {"data: {\"x\":{\"y\":{\"usage\":{\"prompt_tokens\":3}}}}\n\n", false, false, -1, -1, 1, ""},
    {"event: one\rdata: {\"a\":1}\rid: 7\r\rdata: {\"b\":\rdata: {\"content\":\"x\"}}\r\r", true, false, -1, -1, 2, ""},
    {"data: {\"a\":\ndata: {\"content\":\"x\"}}\n\n", true, false, -1, -1, 1, ""},
    {"\n\n\ndata: {\"delta\":\"x\"}\n\n", true, false, -1, -1, 1, ""},
    {"id: 1\nretry: 5\nlongfieldname: x\ndata\ndata: {}\n\n", false, false, -1, -1, 1, ""},
    {"data: plain text\n\n", true, false, -1, -1, 1, ""},
};

static size_t feed_exact(gw_sse *s, const char *p, size_t n) {
  char *copy = malloc(n ? n : 1);
  assert_non_null(copy);
  memcpy(copy, p, n);
  size_t complete = gw_sse_feed(s, copy, n);
  free(copy);
  assert_true(complete <= n);
  return complete;
}

static void test_every_stream_reads_the_same_at_every_split(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof SAMPLES / sizeof SAMPLES[0]; i++) {
    const sample *x = &SAMPLES[i];
    size_t len = strlen(x->text);
    for (size_t a = 0; a <= len; a++) {
      for (size_t b = a; b <= len; b += 3) {
        size_t marks[] = {0, a, b, len};
        size_t complete = 0;
        gw_sse s;
        gw_sse_init(&s);
        for (size_t k = 0; k < 3; k++) {
          size_t c = feed_exact(&s, x->text + marks[k], marks[k + 1] - marks[k]);
          complete = c ? marks[k] + c : complete;
        }
        if (s.content != x->content || s.done != x->done || s.events != x->events ||
            s.walk.prompt_tokens != x->prompt || s.walk.completion_tokens != x->completion) {
          fail_msg("%s at %zu, %zu: content %d done %d events %d tokens %d %d", x->text, a, b, s.content, s.done,
                   (int)s.events, (int)s.walk.prompt_tokens, (int)s.walk.completion_tokens);
        }
        // An LF that came alone after the CR which ended an event may wait for the next event.
        const char *left = x->text + complete;
        assert_string_equal(*left == '\n' && complete > 0 ? left + 1 : left, x->rest);
      }
    }
  }
}

// What a client dispatches, by the specification's own words ("9.2.6 Interpreting an event stream").
typedef struct dispatched {
  char name[64];
  char data[2048];
} dispatched;
enum { DISPATCHED_MAX = 8 };

static void field(dispatched *e, const char *line, size_t n) {
  const char *colon = memchr(line, ':', n);
  size_t name = colon ? (size_t)(colon - line) : n;
  const char *value = colon ? colon + 1 : "";
  size_t len = colon ? n - name - 1 : 0;
  if (len > 0 && *value == ' ') {
    value++;
    len--;
  }
  if (name == 5 && memcmp(line, "event", 5) == 0) {
    assert_true(len < sizeof e->name);
    memcpy(e->name, value, len);
    e->name[len] = 0;
  } else if (name == 4 && memcmp(line, "data", 4) == 0) {
    size_t at = strlen(e->data);
    assert_true(at + len + 2 <= sizeof e->data);
    memcpy(e->data + at, value, len);
    memcpy(e->data + at + len, "\n", 2);
  }
}

static size_t dispatch_all(const char *text, size_t n, dispatched out[DISPATCHED_MAX]) {
  size_t count = 0;
  dispatched e = {"", ""};
  for (size_t at = 0, line = 0; at < n; at++) {
    if (text[at] != '\n' && text[at] != '\r') {
      continue;
    }
    field(&e, text + line, at - line);
    if (at == line) {
      if (e.data[0]) {
        e.data[strlen(e.data) - 1] = 0;
        assert_true(count < DISPATCHED_MAX);
        out[count++] = e;
      }
      e = (dispatched){"", ""};
    }
    at += text[at] == '\r' && at + 1 < n && text[at + 1] == '\n';
    line = at + 1;
  }
  return count;
}

static bool is_json(const char *text) {
  yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
  yyjson_doc_free(doc);
  return doc != NULL;
}

static void test_a_broken_event_is_never_taken_for_a_whole_one_and_hides_nothing_behind_it(void **state) {
  (void)state;
  static const char AFTER[] = "data: {\"error\":{}}\n\n";
  size_t broken = 0;
  for (size_t i = 0; i < sizeof SAMPLES / sizeof SAMPLES[0]; i++) {
    for (size_t cut = 1; cut <= strlen(SAMPLES[i].text); cut++) {
      gw_sse s;
      gw_sse_init(&s);
      size_t complete = feed_exact(&s, SAMPLES[i].text, cut);
      if (complete == cut) {
        continue;
      }
      char text[4096];
      int n = snprintf(text, sizeof text, "%.*s%s%s", (int)cut, SAMPLES[i].text, gw_sse_break(&s), AFTER);
      dispatched want[DISPATCHED_MAX];
      dispatched got[DISPATCHED_MAX];
      size_t whole = dispatch_all(SAMPLES[i].text, complete, want);
      assert_int_equal(dispatch_all(text, (size_t)n, got), whole + 2);
      for (size_t k = 0; k < whole; k++) {
        assert_string_equal(got[k].name, want[k].name);
        assert_string_equal(got[k].data, want[k].data);
      }
      assert_string_equal(got[whole].name, "error");
      assert_false(is_json(got[whole].data));
      assert_string_equal(got[whole + 1].name, "");
      assert_string_equal(got[whole + 1].data, "{\"error\":{}}");
      broken++;
    }
  }
  assert_true(broken > 1000);
}

static void test_random_bytes_never_break_the_reader(void **state) {
  (void)state;
  static const char PIECES[] = "data: {}[]\",:\\\n\r\n\nusageprompt_tokens0123tool_calls";
  srand(3);
  for (int round = 0; round < 20000; round++) {
    char text[300];
    size_t n = (size_t)rand() % sizeof text;
    for (size_t i = 0; i < n; i++) {
      text[i] = rand() % 50 ? PIECES[(size_t)rand() % (sizeof PIECES - 1)] : (char)rand();
    }
    gw_sse s;
    gw_sse_init(&s);
    size_t cut = n ? (size_t)rand() % n : 0;
    (void)feed_exact(&s, text, cut);
    (void)feed_exact(&s, text + cut, n - cut);
  }
}

static void test_the_lf_of_an_events_last_crlf_is_complete_even_when_it_comes_alone(void **state) {
  (void)state;
  gw_sse s;
  gw_sse_init(&s);
  assert_int_equal(gw_sse_feed(&s, "data: x\r\n\r", 10), 10);
  assert_int_equal(gw_sse_feed(&s, "\n", 1), 1);
  assert_int_equal(gw_sse_feed(&s, "data: y\r", 8), 0);
  assert_int_equal(gw_sse_feed(&s, "\n", 1), 0);
  assert_int_equal(gw_sse_feed(&s, "\r", 1), 1);
  assert_int_equal(gw_sse_feed(&s, "\ndata: z\n\n", 10), 10);
}

static void test_usage_is_read_from_a_plain_answer(void **state) {
  (void)state;
  static const char BODY[] =
      "{\"choices\":[{\"message\":{\"content\":\"\\\"usage\\\":{\\\"prompt_tokens\\\":9}\"}}],"
      "\"usage\":{\"prompt_tokens\": 9007199254740993 ,\"completion_tokens\":0}}";
  for (size_t cut = 0; cut < sizeof BODY; cut++) {
    gw_json_walk w;
    gw_json_walk_init(&w);
    gw_json_walk_feed(&w, BODY, cut);
    gw_json_walk_feed(&w, BODY + cut, sizeof BODY - 1 - cut);
    assert_int_equal(w.prompt_tokens, 9007199254740993);
    assert_int_equal(w.completion_tokens, 0);
  }
}

static void test_too_deep_an_answer_is_given_up_not_misread(void **state) {
  (void)state;
  gw_json_walk w;
  gw_json_walk_init(&w);
  for (int i = 0; i < 1000; i++) {
    gw_json_walk_feed(&w, i % 2 ? "[" : "{\"a\":", i % 2 ? 1 : 5);
  }
  gw_json_walk_feed(&w, "{\"usage\":{\"prompt_tokens\":1}}", 29);
  assert_int_equal(w.prompt_tokens, -1);
}

static gw_json_walk walked(const char *before, const char *key, const char *after) {
  gw_json_walk w;
  gw_json_walk_init(&w);
  gw_json_walk_feed(&w, before, strlen(before));
  gw_json_walk_feed(&w, key, strlen(key));
  gw_json_walk_feed(&w, after, strlen(after));
  return w;
}

static void test_every_key_of_content_counts_and_none_that_is_like_it(void **state) {
  (void)state;
  static const char *const KEYS[] = {"content",        "reasoning_content", "reasoning",  "text",  "refusal",
                                     "arguments",      "partial_json",      "thinking",   "delta", "b64_json",
                                     "generated_text", "transcript",        "tool_calls", "error", "function_call",
                                     "finish_reason",  "stop_reason"};
  for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++) {
    assert_true(walked("{\"", KEYS[i], "\":\"x\"}").content);
    assert_true(walked("{ \"a\" : 1 , \"", KEYS[i], "\" : \"x\" }").content);
    assert_true(walked("{\"a\":[1],\"", KEYS[i], "\":\"x\"}").content);
    assert_false(walked("{\"", KEYS[i], "x\":\"x\"}").content);
    assert_false(walked("{\"", KEYS[i] + 1, "\":\"x\"}").content);
    assert_false(walked("{\"", KEYS[i], "\":\"\"}").content);
  }
}

static void test_tokens_are_read_by_either_name_where_usage_stands(void **state) {
  (void)state;
  static const char *const BEFORE[] = {"{\"usage\":{\"", "{\"message\":{\"usage\":{\"",
                                       "{\"response\" : {\"id\":1,\"usage\":{\""};
  static const char *const NAMES[] = {"prompt_tokens", "input_tokens", "completion_tokens", "output_tokens"};
  for (size_t i = 0; i < 12; i++) {
    const gw_json_walk w = walked(BEFORE[i % 3], NAMES[i / 3], "\": 7 }}}");
    assert_int_equal(w.prompt_tokens, i / 3 < 2 ? 7 : -1);
    assert_int_equal(w.completion_tokens, i / 3 < 2 ? -1 : 7);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_stream_reads_the_same_at_every_split),
      cmocka_unit_test(test_a_broken_event_is_never_taken_for_a_whole_one_and_hides_nothing_behind_it),
      cmocka_unit_test(test_random_bytes_never_break_the_reader),
      cmocka_unit_test(test_the_lf_of_an_events_last_crlf_is_complete_even_when_it_comes_alone),
      cmocka_unit_test(test_usage_is_read_from_a_plain_answer),
      cmocka_unit_test(test_every_key_of_content_counts_and_none_that_is_like_it),
      cmocka_unit_test(test_tokens_are_read_by_either_name_where_usage_stands),
      cmocka_unit_test(test_too_deep_an_answer_is_given_up_not_misread),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
