// Heads: the request line at every split, framing rules, targets, what is rebuilt for the other side.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "head.h"

static char memory[16384];

static void build(gw_head *h, const char *url, const char *const *headers) {
  gw_head_init(h, memory, sizeof memory);
  assert_true(gw_head_add_url(h, url, strlen(url)));
  for (size_t i = 0; headers[i]; i += 2) {
    // In two spans each, as a parser may give them.
    size_t n = strlen(headers[i]) / 2;
    size_t v = strlen(headers[i + 1]) / 2;
    assert_true(gw_head_add_name(h, headers[i], n) && gw_head_add_name(h, headers[i] + n, strlen(headers[i]) - n));
    assert_true(gw_head_add_value(h, headers[i + 1], v) &&
                gw_head_add_value(h, headers[i + 1] + v, strlen(headers[i + 1]) - v));
  }
  gw_head_finish(h);
}
#define HEADERS(...)      \
  (const char *const[]) { \
    __VA_ARGS__, NULL     \
  }

static void test_request_lines_are_judged_at_every_split(void **state) {
  (void)state;
  static const struct {
    const char *line;
    bool ok;
  } LINES[] = {
      {"GET / HTTP/1.1\r\n", true},      {"\r\n\r\nPOST /a?b HTTP/1.0\r\n", true},
      {"M-SEARCH * HTTP/1.1\r\n", true}, {"GET /\r\n", false},
      {"GET  / HTTP/1.1\r\n", false},    {"GET /  HTTP/1.1\r\n", false},
      {"GET / HTTP/1.1 \r\n", false},    {" GET / HTTP/1.1\r\n", false},
      {"GET / HTTP/1.2\r\n", false},     {"GET / HTTP/2.0\r\n", false},
      {"GET / RTSP/1.0\r\n", false},     {"GET / ICE/1.0\r\n", false},
      {"GET / HTTP/1.1\n", false},       {"get / HTTP/1.1\r\n", false},
      {"GET\t/ HTTP/1.1\r\n", false},    {"GET /\x80 HTTP/1.1\r\n", false},
      {"\nGET / HTTP/1.1\r\n", false},   {"\r\n\r\n\r\n\r\n\r\n\r\n", false},
      {"GET / HTTP/1.10\r\n", false},    {"GET /\0 HTTP/1.1\r\n", false},
  };
  for (size_t i = 0; i < sizeof LINES / sizeof LINES[0]; i++) {
    size_t n = strlen(LINES[i].line);
    for (size_t cut = 0; cut <= n; cut++) {
      gw_request_line l = {0};
      bool ok = gw_request_line_feed(&l, LINES[i].line, cut) &&
                gw_request_line_feed(&l, LINES[i].line + cut, n - cut) && l.done;
      if (ok != LINES[i].ok) {
        fail_msg("%s at %zu", LINES[i].line, cut);
      }
    }
  }
}

static void test_framing_that_two_parsers_could_read_apart_is_refused(void **state) {
  (void)state;
  gw_framing f;
  gw_head h;
#define JUDGE(major, minor, ...) (build(&h, "/", HEADERS(__VA_ARGS__)), eco_ok(gw_head_judge(&h, major, minor, &f)))
  assert_true(JUDGE(1, 1, "Host", "x"));
  assert_true(f.content_length == -1 && !f.chunked);
  assert_true(JUDGE(1, 1, "Host", "x", "Content-Length", " 12 "));
  assert_int_equal(f.content_length, 12);
  assert_true(JUDGE(1, 1, "Host", "[::1]:80", "Transfer-Encoding", "Chunked"));
  assert_true(f.chunked);
  assert_false(JUDGE(1, 1, "X", "x"));
  assert_false(JUDGE(1, 1, "Host", "x", "Host", "x"));
  assert_false(JUDGE(1, 1, "Host", ""));
  assert_false(JUDGE(1, 1, "Host", "a b"));
  assert_false(JUDGE(1, 1, "Host", "a@b"));
  assert_false(JUDGE(1, 1, "Host", "x", "Content-Length", "1", "Content-Length", "1"));
  assert_false(JUDGE(1, 1, "Host", "x", "Content-Length", "1", "Transfer-Encoding", "chunked"));
  assert_false(JUDGE(1, 1, "Host", "x", "Content-Length", "1,1"));
  assert_false(JUDGE(1, 1, "Host", "x", "Content-Length", "-1"));
  assert_false(JUDGE(1, 1, "Host", "x", "Content-Length", "0x1"));
  assert_false(JUDGE(1, 1, "Host", "x", "Content-Length", ""));
  assert_false(JUDGE(1, 1, "Host", "x", "Content-Length", "9999999999999999999"));
  assert_false(JUDGE(1, 1, "Host", "x", "Transfer-Encoding", "gzip, chunked"));
  assert_false(JUDGE(1, 1, "Host", "x", "Transfer-Encoding", "chunked", "Transfer-Encoding", "chunked"));
  assert_false(JUDGE(1, 1, "Host", "x", "Transfer-Encoding", "chunked\x0b"));
  assert_false(JUDGE(1, 0, "Host", "x", "Transfer-Encoding", "chunked"));
  assert_false(JUDGE(2, 0, "Host", "x"));
  assert_false(JUDGE(1, 2, "Host", "x"));
}

static void test_targets_with_dot_segments_in_any_spelling_are_refused(void **state) {
  (void)state;
  static const char *const GOOD[] = {"/",      "/a/b",       "/a?b/../c",     "/...", "/.a",
                                     "/a..b/", "/%2e%2e%2e", "http://host/a", "/a%",  "/%zz"};
  static const char *const BAD[] = {
      "/.", "/..", "/a/../b", "/a/./b",      "/%2e",        "/%2E./x", "/.%2e", "/a%2f..%2fb", "/a\\..\\b", "/a%5c..",
      "",   "a",   "*",       "http://host", "http://u@h/", "/a#b",    "/a b",  "/\x7f",       "https://h/"};
  for (size_t i = 0; i < sizeof GOOD / sizeof GOOD[0]; i++) {
    gw_target t;
    if (!eco_ok(gw_target_parse((gw_slice){GOOD[i], strlen(GOOD[i])}, &t))) {
      fail_msg("refused: %s", GOOD[i]);
    }
  }
  for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
    gw_target t;
    if (eco_ok(gw_target_parse((gw_slice){BAD[i], strlen(BAD[i])}, &t))) {
      fail_msg("accepted: %s", BAD[i]);
    }
  }
}

static bool has(const char *text, const char *part) {
  return strstr(text, part) != NULL;
}

static void test_a_request_is_rebuilt_without_what_belongs_to_the_hop(void **state) {
  (void)state;
  gw_head h;
  build(&h, "/v1/x",
        HEADERS("Host", "public", "Authorization", "Bearer k", "X-Api-Key", "k", "Connection",
                "close, X-Hop , keep-alive", "x-hop", "1", "Keep-Alive", "1", "TE", "trailers", "Proxy-Connection", "x",
                "X-Ecolink-Region", "evil", "x-forwarded-for", "6.6.6.6", "Forwarded", "for=6", "X-Forwarded-Proto",
                "https", "Accept-Encoding", "gzip", "Content-Length", "5", "Expect", "100-continue", "Upgrade",
                "websocket", "User-Agent", "mine", "X-Kept", " a b "));
  char out[4096];
  gw_request_out r = {.method = "POST",
                      .path = {"/v1/x", 5},
                      .query = {"q=1", 3},
                      .has_query = true,
                      .host = "10.0.0.1:8000",
                      .token = "tok",
                      .v1 = true,
                      .peer = "1.2.3.4",
                      .client_host = {"public", 6},
                      .request_id = "req_1",
                      .body = true,
                      .content_length = 77};
  size_t n = gw_head_write_request(&h, &r, out, sizeof out - 1);
  out[n] = 0;
  assert_string_equal(out,
                      "POST /v1/x?q=1 HTTP/1.1\r\nhost: 10.0.0.1:8000\r\nUser-Agent: mine\r\nX-Kept: a "
                      "b\r\nx-forwarded-for: 1.2.3.4\r\n"
                      "x-forwarded-proto: http\r\nx-forwarded-host: public\r\nx-ecolink-request-id: "
                      "req_1\r\nauthorization: Bearer tok\r\n"
                      "content-length: 77\r\n\r\n");
  r.trusted = true;
  r.v1 = false;
  r.token = "";
  n = gw_head_write_request(&h, &r, out, sizeof out - 1);
  out[n] = 0;
  assert_true(has(out, "x-forwarded-for: 6.6.6.6, 1.2.3.4\r\n") && has(out, "X-Forwarded-Proto: https\r\n") &&
              has(out, "Accept-Encoding: gzip\r\n"));
  assert_false(has(out, "uthorization"));
  for (size_t cap = 0; cap < n; cap++) {
    assert_int_equal(gw_head_write_request(&h, &r, out, cap), 0);  // never a part of a head
  }
}

static void test_a_response_is_rebuilt_with_our_headers_alone(void **state) {
  (void)state;
  gw_head h;
  build(&h, "",
        HEADERS("Content-Type", "a/b", "Set-Cookie", "x", "X-Ecolink-Region", "evil", "X-RateLimit-Limit", "1",
                "Alt-Svc", "h3", "Connection", "X-Hop", "X-Hop", "1", "Transfer-Encoding", "chunked",
                "Content-Security-Policy", "theirs"));
  char out[2048];
  gw_response_out r = {.status = 200, .v1 = true, .chunked = true, .content_length = -1, .own = {.region = "a"}};
  size_t n = gw_head_write_response(&h, &r, out, sizeof out - 1);
  out[n] = 0;
  assert_string_equal(out,
                      "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Security-Policy: theirs\r\nx-ecolink-region: "
                      "a\r\ntransfer-encoding: chunked\r\n\r\n");
  r = (gw_response_out){.status = 404, .content_length = 0, .close = true};
  n = gw_head_write_response(&h, &r, out, sizeof out - 1);
  out[n] = 0;
  assert_true(has(out, "Set-Cookie: x\r\n") && has(out, "content-security-policy: sandbox\r\n") &&
              !has(out, "theirs") && has(out, "connection: close\r\n") && has(out, "content-length: 0\r\n"));
}

static void test_prefix_and_path_are_joined_by_one_slash(void **state) {
  (void)state;
  static const struct {
    const char *prefix, *path, *want;
  } CASES[] = {{"", "", "/"}, {"", "/a", "/a"}, {"/g", "", "/g"}, {"/g", "/a", "/g/a"}, {"", "/", "/"}};
  gw_head h;
  build(&h, "/", HEADERS("Host", "x"));
  for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
    char out[512];
    char want[64] = "GET ";
    gw_request_out r = {.method = "GET",
                        .prefix = {CASES[i].prefix, strlen(CASES[i].prefix)},
                        .path = {CASES[i].path, strlen(CASES[i].path)},
                        .host = "h",
                        .token = "",
                        .peer = "p",
                        .client_host = {"c", 1},
                        .request_id = "r"};
    size_t n = gw_head_write_request(&h, &r, out, sizeof out - 1);
    out[n] = 0;
    strncat(want, CASES[i].want, 20);
    strncat(want, " HTTP/1.1\r\n", 20);
    assert_memory_equal(out, want, strlen(want));
  }
}

static void test_every_name_that_a_rule_speaks_of_is_known_in_any_case_and_no_other(void **state) {
  (void)state;
  static const struct {
    const char *name;
    gw_header_id id;
  } NAMES[] = {
      {"HOST", GW_H_HOST},
      {"Content-Length", GW_H_CONTENT_LENGTH},
      {"transfer-ENCODING", GW_H_TRANSFER_ENCODING},
      {"Connection", GW_H_CONNECTION},
      {"Keep-Alive", GW_H_HOP},
      {"TE", GW_H_HOP},
      {"Trailer", GW_H_HOP},
      {"Upgrade", GW_H_UPGRADE},
      {"Authorization", GW_H_AUTHORIZATION},
      {"X-Api-Key", GW_H_API_KEY},
      {"Content-Type", GW_H_CONTENT_TYPE},
      {"Content-Encoding", GW_H_CONTENT_ENCODING},
      {"Expect", GW_H_EXPECT},
      {"Accept", GW_H_ACCEPT},
      {"Accept-Encoding", GW_H_ACCEPT_ENCODING},
      {"Forwarded", GW_H_FORWARDED},
      {"X-Real-IP", GW_H_FORWARDED},
      {"X-Forwarded-For", GW_H_FORWARDED_FOR},
      {"Alt-Svc", GW_H_ALT_SVC},
      {"Cookie", GW_H_COOKIE},
      {"Set-Cookie", GW_H_SET_COOKIE},
      {"Idempotency-Key", GW_H_IDEMPOTENCY_KEY},
      {"Traceparent", GW_H_TRACEPARENT},
      {"X-Content-Type-Options", GW_H_SANDBOX},
      {"Content-Security-Policy", GW_H_SANDBOX},
  };
  for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
    gw_head h;
    char longer[64];
    unsigned count = 0;
    (void)snprintf(longer, sizeof longer, "%sx", NAMES[i].name);
    build(&h, "/", HEADERS(longer, "a", NAMES[i].name + 1, "b", NAMES[i].name, "c", NAMES[i].name, "d"));
    assert_int_equal(h.h[2].id, NAMES[i].id);
    assert_ptr_equal(gw_head_find(&h, NAMES[i].id, &count), &h.h[2]);
    assert_int_equal(count, 2);
    assert_memory_equal(gw_head_get(&h, NAMES[i].id).p, "c", 1);
    assert_memory_equal(gw_head_last(&h, NAMES[i].id).p, "d", 1);
  }
}

static void test_limits_of_a_head_hold(void **state) {
  (void)state;
  gw_head h;
  gw_head_init(&h, memory, sizeof memory);
  for (int i = 0; i < GW_HEADERS_MAX; i++) {
    assert_true(gw_head_add_name(&h, "a", 1) && gw_head_add_value(&h, "b", 1));
  }
  assert_false(gw_head_add_name(&h, "a", 1));
  gw_head_init(&h, memory, 10);
  assert_true(gw_head_add_url(&h, "0123456789", 10));
  assert_false(gw_head_add_url(&h, "x", 1));
  assert_false(gw_head_add_name(&h, "x", 1));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_request_lines_are_judged_at_every_split),
      cmocka_unit_test(test_framing_that_two_parsers_could_read_apart_is_refused),
      cmocka_unit_test(test_targets_with_dot_segments_in_any_spelling_are_refused),
      cmocka_unit_test(test_a_request_is_rebuilt_without_what_belongs_to_the_hop),
      cmocka_unit_test(test_a_response_is_rebuilt_with_our_headers_alone),
      cmocka_unit_test(test_prefix_and_path_are_joined_by_one_slash),
      cmocka_unit_test(test_every_name_that_a_rule_speaks_of_is_known_in_any_case_and_no_other),
      cmocka_unit_test(test_limits_of_a_head_hold),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
