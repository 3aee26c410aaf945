// The rig's message reader: every cut gives the same answer, and what is wrong is seen.
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "message.h"

static const char PLAIN[] = "HTTP/1.1 200 OK\r\nServer: x\r\ncontent-LENGTH: 5\r\n\r\nhello";
static const char CHUNKED[] =
    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";

static size_t seen;

static void count(void *arg, const char *p, size_t n) {
  (void)arg;
  (void)p;
  seen += n;
}

static rig_message read_cut(const char *text, size_t cut) {
  rig_message m = {0};
  size_t n = strlen(text);
  seen = 0;
  rig_message_reset(&m);
  assert_int_equal(rig_message_feed(&m, text, cut, count, NULL), cut);
  assert_int_equal(rig_message_feed(&m, text + cut, n - cut, count, NULL), n - cut);
  rig_message_free(&m);
  return m;
}

static void test_every_cut_of_a_plain_answer(void **state) {
  (void)state;
  for (size_t cut = 0; cut < sizeof PLAIN - 1; cut++) {
    rig_message m = read_cut(PLAIN, cut);
    assert_int_equal(m.state, RIG_DONE);
    assert_int_equal(m.status, 200);
    assert_int_equal(m.body, 5);
    assert_int_equal(seen, 5);
  }
}

static void test_every_cut_of_a_chunked_request(void **state) {
  (void)state;
  for (size_t cut = 0; cut < sizeof CHUNKED - 1; cut++) {
    rig_message m = read_cut(CHUNKED, cut);
    assert_int_equal(m.state, RIG_DONE);
    assert_int_equal(m.status, 0);
    assert_int_equal(m.body, 13);
    assert_int_equal(seen, 13);
  }
}

static rig_message_state verdict(const char *text) {
  rig_message m = {0};
  rig_message_reset(&m);
  (void)rig_message_feed(&m, text, strlen(text), NULL, NULL);
  rig_message_free(&m);
  return m.state;
}

static void test_what_is_wrong_is_seen(void **state) {
  (void)state;
  assert_int_equal(verdict("HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello"), RIG_BAD);
  assert_int_equal(verdict("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), RIG_BAD);
  assert_int_equal(verdict("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n"), RIG_BAD);
  assert_int_equal(verdict("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello"), RIG_LENGTH);
}

static void test_the_next_message_is_left_alone(void **state) {
  (void)state;
  static const char TWO[] = "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n";
  rig_message m = {0};
  rig_message_reset(&m);
  assert_int_equal(rig_message_feed(&m, TWO, sizeof TWO - 1, NULL, NULL), strlen("HTTP/1.1 204 No Content\r\n\r\n"));
  assert_int_equal(m.state, RIG_DONE);
  assert_int_equal(m.status, 204);
  rig_message_free(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_cut_of_a_plain_answer),
      cmocka_unit_test(test_every_cut_of_a_chunked_request),
      cmocka_unit_test(test_what_is_wrong_is_seen),
      cmocka_unit_test(test_the_next_message_is_left_alone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
