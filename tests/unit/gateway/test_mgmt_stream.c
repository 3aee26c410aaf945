// Followed events and logs, and the ledger as CSV: pieces as the loop pulls them.
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
// clang-format on

#include "ecolink/v1/billing.pb-c.h"
#include "ecolink/v1/scheduler.pb-c.h"
#include "mgmt_csv.h"
#include "mgmt_fixture.h"

typedef Ecolink__V1__InstanceStatus instance_status;
static const instance_status RUNNING = ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_RUNNING;
static const instance_status STOPPED = ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPED;

// Queues a page of events first..last, the last of them with `status`.
static void answer_events(int64_t first, int64_t last, instance_status status, bool more, const char *cursor) {
  eco_arena *arena = eco_arena_new();
  Ecolink__V1__InstanceEventList list = ECOLINK__V1__INSTANCE_EVENT_LIST__INIT;
  Ecolink__V1__PageInfo page = ECOLINK__V1__PAGE_INFO__INIT;
  page.has_more = more;
  page.next_cursor = (char *)(uintptr_t)cursor;
  list.page = &page;
  list.data = eco_alloc_array(arena, 64, sizeof *list.data);
  for (int64_t id = first; id <= last; id++) {
    Ecolink__V1__InstanceEvent *event = eco_alloc(arena, sizeof *event);
    ecolink__v1__instance_event__init(event);
    event->id = id;
    event->type = (char *)"replica.ready";
    event->status = id == last ? status : RUNNING;
    list.data[list.n_data++] = event;
  }
  fixture_will_answer(&list.base);
  eco_arena_free(arena);
}

static void answer_status(instance_status status) {
  Ecolink__V1__Instance instance = ECOLINK__V1__INSTANCE__INIT;
  instance.status = status;
  fixture_will_answer(&instance.base);
}

static void answer_logs(const char *text, const char *cursor, bool ended) {
  Ecolink__V1__InstanceLogs logs = ECOLINK__V1__INSTANCE_LOGS__INIT;
  Ecolink__V1__LogLine line = ECOLINK__V1__LOG_LINE__INIT;
  Ecolink__V1__LogLine *lines[] = {&line};
  line.text = (char *)(uintptr_t)text;
  logs.next_cursor = (char *)(uintptr_t)cursor;
  logs.ended = ended;
  logs.n_data = text[0] == '\0' ? 0 : 1;
  logs.data = lines;
  fixture_will_answer(&logs.base);
}

static int count_of(const char *needle) {
  int n = 0;
  for (const char *s = fixture_body(); (s = strstr(s, needle)) != NULL; s += strlen(needle)) {
    n++;
  }
  return n;
}

static gw_mgmt_call *follow(const char *what) {
  char path[64];
  snprintf(path, sizeof path, "/inference-instances/142/%s", what);
  return fixture_start(fixture_request("GET", path, "follow=true", ""));
}

static void test_followed_events_come_once_each_and_end_when_the_instance_is_terminal(void **state) {
  (void)state;
  answer_events(1, 3, RUNNING, false, "");
  gw_mgmt_call *call = follow("events");
  assert_int_equal(fx.status, 200);
  assert_string_equal(fx.content_type, "text/event-stream");
  assert_true(fx.more);
  assert_int_equal(fx.delay_ms, MGMT_POLL_MS);
  answer_events(1, 4, RUNNING, false, "");  // the same page again, with one more
  gw_mgmt_next(call);
  answer_events(1, 5, STOPPED, false, "");
  gw_mgmt_next(call);
  assert_false(fx.more);
  assert_int_equal(count_of("data: {\"object\":\"instance_event\""), 5);
  for (int id = 1; id <= 5; id++) {
    char line[32];
    snprintf(line, sizeof line, "id: %d\n", id);
    assert_int_equal(count_of(line), 1);
  }
  assert_int_equal(count_of("event: end\ndata: {}\n\n"), 1);
  gw_mgmt_next(call);  // after the last: nothing
  assert_int_equal(fx.pieces, 3);
  gw_mgmt_release(call);
}

static void test_a_full_page_is_followed_by_the_next_at_once_from_its_cursor(void **state) {
  (void)state;
  answer_events(1, 2, RUNNING, true, "after-2");
  gw_mgmt_call *call = follow("events");
  assert_int_equal(fx.delay_ms, 0);
  answer_events(3, 4, RUNNING, false, "");
  gw_mgmt_next(call);
  eco_arena *arena = eco_arena_new();
  assert_string_equal(
      ecolink__v1__list_instance_events_request__unpack(eco_arena_pb(arena), fx.request_lens[1], fx.requests[1])
          ->cursor,
      "after-2");
  eco_arena_free(arena);
  gw_mgmt_release(call);
}

static void test_a_follower_that_joins_after_the_end_is_told_by_the_instance_itself(void **state) {
  (void)state;
  answer_events(1, 0, RUNNING, false, "");
  gw_mgmt_call *call = follow("events");
  assert_string_equal(fixture_body(), ": following\n\n");
  answer_status(STOPPED);
  gw_mgmt_next(call);
  assert_string_equal(fx.methods[1], "scheduler.GetInstance");
  assert_true(fx.more);
  answer_events(1, 0, RUNNING, false, "");
  gw_mgmt_next(call);
  assert_string_equal(fx.methods[2], "scheduler.ListInstanceEvents");
  assert_false(fx.more);
  assert_int_equal(count_of("event: end"), 1);
  gw_mgmt_release(call);
}

static void test_a_silent_follower_gets_a_comment_now_and_then(void **state) {
  (void)state;
  answer_events(1, 1, RUNNING, false, "");
  gw_mgmt_call *call = follow("events");
  for (int i = 1; i <= MGMT_KEEP_ALIVE_POLLS; i++) {
    if (i % MGMT_STATUS_POLLS == 2) {
      answer_status(RUNNING);
    } else {
      answer_events(1, 1, RUNNING, false, "");
    }
    gw_mgmt_next(call);
  }
  assert_int_equal(count_of(": keep-alive\n\n"), 1);
  gw_mgmt_release(call);
}

static void test_followed_logs_go_on_from_the_cursor_until_ended(void **state) {
  (void)state;
  answer_logs("loading\nmodel", "c1", false);
  gw_mgmt_call *call = follow("logs");
  assert_true(fx.more);
  answer_logs("", "c1", false);
  gw_mgmt_next(call);
  assert_int_equal(fx.last_len, 0);
  assert_int_equal(fx.delay_ms, MGMT_POLL_MS);
  answer_logs("bye", "c2", true);
  gw_mgmt_next(call);
  assert_false(fx.more);
  assert_int_equal(count_of("\"text\":\"loading\\nmodel\""), 1);
  assert_int_equal(count_of("id: c1\n"), 1);
  assert_int_equal(count_of("event: end"), 1);
  eco_arena *arena = eco_arena_new();
  assert_string_equal(
      ecolink__v1__read_instance_logs_request__unpack(eco_arena_pb(arena), fx.request_lens[2], fx.requests[2])->cursor,
      "c1");
  eco_arena_free(arena);
  gw_mgmt_release(call);
}

static void test_a_stream_sits_out_an_unreachable_service(void **state) {
  (void)state;
  answer_logs("one", "c1", false);
  gw_mgmt_call *call = follow("logs");
  fixture_will_fail(ECO_CONTROL_PLANE_UNAVAILABLE);
  fixture_will_fail(ECO_CONTROL_PLANE_UNAVAILABLE);
  gw_mgmt_next(call);
  assert_true(fx.more);
  answer_logs("two", "c2", true);
  gw_mgmt_next(call);
  assert_false(fx.more);
  assert_int_equal(count_of("\"text\":\"two\""), 1);
  gw_mgmt_release(call);
}

static void test_a_stream_that_is_refused_later_says_why_and_ends(void **state) {
  (void)state;
  answer_logs("one", "c1", false);
  gw_mgmt_call *call = follow("logs");
  fixture_will_fail(ECO_FORBIDDEN);
  gw_mgmt_next(call);
  assert_false(fx.more);
  assert_int_equal(count_of("event: error\ndata: {\"error\":{"), 1);
  gw_mgmt_release(call);
}

static void test_a_stream_that_is_refused_at_once_is_a_plain_error(void **state) {
  (void)state;
  fixture_will_fail(ECO_FORBIDDEN);
  gw_mgmt_call *call = follow("logs");
  assert_int_equal(fx.status, 403);
  assert_string_equal(fx.content_type, "application/json");
  gw_mgmt_release(call);
}

// ---- CSV ----

static void answer_transactions(int count, bool more, const char *cursor) {
  Ecolink__V1__TransactionList list = ECOLINK__V1__TRANSACTION_LIST__INIT;
  Ecolink__V1__PageInfo page = ECOLINK__V1__PAGE_INFO__INIT;
  Ecolink__V1__Transaction t = ECOLINK__V1__TRANSACTION__INIT;
  Ecolink__V1__Transaction *rows[8] = {&t, &t, &t, &t, &t, &t, &t, &t};
  t.id = (char *)"txn_1";
  page.has_more = more;
  page.next_cursor = (char *)(uintptr_t)cursor;
  list.page = &page;
  list.n_data = (size_t)count;
  list.data = rows;
  fixture_will_answer(&list.base);
}

static void test_an_export_holds_every_page_under_one_header(void **state) {
  (void)state;
  answer_transactions(2, true, "p2");
  gw_mgmt_request request = fixture_request("GET", "/billing/transactions", "", "");
  request.accept = "text/csv;q=0.9, */*;q=0.1";
  gw_mgmt_call *call = fixture_start(request);
  assert_string_equal(fx.content_type, "text/csv; charset=utf-8");
  assert_true(fx.more);
  assert_int_equal(fx.delay_ms, 0);
  answer_transactions(1, false, "");
  gw_mgmt_next(call);
  assert_false(fx.more);
  assert_int_equal(count_of("id,created_at"), 1);
  assert_int_equal(count_of("\r\n"), 4);
  gw_mgmt_release(call);
}

static void test_an_export_that_cannot_go_on_is_broken_rather_than_short(void **state) {
  (void)state;
  answer_transactions(2, true, "p2");
  gw_mgmt_call *call = fixture_start(fixture_request("GET", "/billing/transactions", "format=csv", ""));
  answer_transactions(2, true, "p2");  // the cursor does not move
  gw_mgmt_next(call);
  assert_false(fx.more);
  assert_true(fx.broken);
  gw_mgmt_release(call);
}

static void test_json_stays_the_answer_unless_csv_is_asked_for(void **state) {
  (void)state;
  static const struct {
    const char *accept, *query;
    bool csv;
  } CASES[] = {{"*/*", "", false},
               {"text/csv", "", true},
               {"TEXT/CSV; header=present", "", true},
               {"text/csv;q=0", "", false},
               {"text/csv", "format=json", false},
               {"application/json", "format=csv", true},
               {"", "", false},
               {"application/json, text/csv", "", true}};
  for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
    answer_transactions(1, false, "");
    gw_mgmt_request request = fixture_request("GET", "/billing/transactions", CASES[i].query, "");
    request.accept = CASES[i].accept;
    gw_mgmt_release(fixture_start(request));
    assert_int_equal(strncmp(fx.content_type, "text/csv", 8) == 0, CASES[i].csv);
  }
}

static void test_csv_text_is_quoted_by_rfc_4180_and_never_a_formula(void **state) {
  (void)state;
  static const struct {
    const char *text, *csv;
  } CASES[] = {{"plain", "plain"},
               {"", ""},
               {"a,b", "\"a,b\""},
               {"say \"hi\"", "\"say \"\"hi\"\"\""},
               {"two\r\nlines", "\"two\r\nlines\""},
               {"=1+1", "'=1+1"},
               {"+1", "'+1"},
               {"-1", "'-1"},
               {"@SUM(A1)", "'@SUM(A1)"},
               {"\tx", "'\tx"},
               {"=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""},
               {"caf\xC3\xA9", "caf\xC3\xA9"}};
  for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
    eco_buf out;
    eco_buf_init(&out, 256);
    assert_true(mgmt_csv_text(&out, CASES[i].text));
    assert_string_equal(out.data == NULL ? "" : out.data, CASES[i].csv);
    eco_buf_free(&out);
  }
}

static void test_a_csv_row_has_a_field_for_each_name_of_the_header(void **state) {
  (void)state;
  Ecolink__V1__Transaction t = ECOLINK__V1__TRANSACTION__INIT;
  Ecolink__V1__Money amount = ECOLINK__V1__MONEY__INIT;
  Ecolink__V1__Timestamp at = ECOLINK__V1__TIMESTAMP__INIT;
  amount.micros = -76800000;
  at.micros = INT64_C(1763843023000000);
  t.id = (char *)"txn_1";
  t.created_at = &at;
  t.type = ECOLINK__V1__TRANSACTION_TYPE__TRANSACTION_TYPE_HOLD;
  t.amount = &amount;
  t.description = (char *)"my-llama:142, launch";
  t.instance_case = ECOLINK__V1__TRANSACTION__INSTANCE_INSTANCE_ID;
  t.instance_id = 142;
  t.sequence = 7;
  eco_buf out;
  eco_buf_init(&out, 512);
  assert_true(mgmt_csv_header(&out) && mgmt_csv_row(&out, &t));
  assert_string_equal(out.data,
                      "id,created_at,type,amount,balance_after,description,instance_id,sequence\r\n"
                      "txn_1,2025-11-22T20:23:43Z,hold,-76.80,,\"my-llama:142, launch\",142,7\r\n");
  eco_buf_free(&out);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(test_followed_events_come_once_each_and_end_when_the_instance_is_terminal),
      CASE(test_a_full_page_is_followed_by_the_next_at_once_from_its_cursor),
      CASE(test_a_follower_that_joins_after_the_end_is_told_by_the_instance_itself),
      CASE(test_a_silent_follower_gets_a_comment_now_and_then),
      CASE(test_followed_logs_go_on_from_the_cursor_until_ended),
      CASE(test_a_stream_sits_out_an_unreachable_service),
      CASE(test_a_stream_that_is_refused_later_says_why_and_ends),
      CASE(test_a_stream_that_is_refused_at_once_is_a_plain_error),
      CASE(test_an_export_holds_every_page_under_one_header),
      CASE(test_an_export_that_cannot_go_on_is_broken_rather_than_short),
      CASE(test_json_stays_the_answer_unless_csv_is_asked_for),
      CASE(test_csv_text_is_quoted_by_rfc_4180_and_never_a_formula),
      CASE(test_a_csv_row_has_a_field_for_each_name_of_the_header),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
