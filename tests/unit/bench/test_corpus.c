// What the rig sends is what the benchmarks say they send.
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "corpus.h"
#include "message.h"

static const rig_population POPULATION = {.keys = 1000, .routes = 200, .used_keys = 100, .used_routes = 20};

static unsigned percent(size_t part, size_t all) {
  return (unsigned)(part * 100 / all);
}

static bool between(unsigned v, unsigned low, unsigned high) {
  return v >= low && v <= high;
}

static void test_chat_requests_are_mixed_as_promised(void **state) {
  (void)state;
  rig_corpus c = rig_corpus_new(&POPULATION, RIG_CHAT, false, false, "");
  size_t chunked = 0;
  size_t split = 0;
  size_t first = 0;
  size_t among = 0;
  size_t bytes = 0;
  for (size_t i = 0; i < c.n; i++) {
    const rig_request *r = &c.requests[i];
    rig_message m = {0};
    rig_message_reset(&m);
    assert_int_equal(rig_message_feed(&m, r->bytes, r->len, NULL, NULL), r->len);
    assert_int_equal(m.state, RIG_DONE);
    rig_message_free(&m);
    assert_true(m.body >= 600 && m.body <= 4000);
    assert_true(r->split < r->len);
    bytes += m.body;
    split += r->split > 0;
    chunked += memmem(r->bytes, r->len, "Transfer-Encoding: chunked", 26) != NULL;
    first += memmem(r->bytes, r->len, "{\"model\":", 9) != NULL;
    among += memmem(r->bytes, r->len, "\"reasoning_effort\"", 18) != NULL;
  }
  assert_true(between(percent(chunked, c.n), 8, 12));
  assert_true(between(percent(split, c.n), 8, 12));
  assert_true(between(percent(first, c.n), 21, 29));
  assert_true(between(percent(among, c.n), 21, 29));
  assert_true(between((unsigned)(bytes / c.n), 1300, 1500));
  rig_corpus_free(&c);
}

static void test_large_requests_end_with_the_model(void **state) {
  (void)state;
  rig_corpus c = rig_corpus_new(&POPULATION, RIG_1M, false, false, "");
  for (size_t i = 0; i < c.n; i++) {
    const rig_request *r = &c.requests[i];
    assert_true(r->len > 1000000);
    assert_non_null(memmem(r->bytes + r->len - 64, 64, "\"model\":\"bench:", 15));
  }
  rig_corpus_free(&c);
}

// The text of the n-th Authorization header.
static char *key_of(const rig_request *r) {
  static const char NAME[] = "Authorization: Bearer ";
  const char *at = memmem(r->bytes, r->len, NAME, sizeof NAME - 1);
  assert_non_null(at);
  return strndup(at + sizeof NAME - 1, 56);
}

static void test_the_snapshot_knows_every_key_that_is_sent_and_no_wrong_one(void **state) {
  (void)state;
  char *snapshot = NULL;
  size_t n = 0;
  FILE *f = open_memstream(&snapshot, &n);
  rig_corpus_write_snapshot(&POPULATION, 1, f);
  fclose(f);
  rig_corpus good = rig_corpus_new(&POPULATION, RIG_CHAT, false, false, "");
  rig_corpus wrong = rig_corpus_new(&POPULATION, RIG_CHAT, true, false, "");
  for (size_t i = 0; i < good.n; i += 50) {
    char *key = key_of(&good.requests[i]);
    char *other = key_of(&wrong.requests[i]);
    assert_non_null(strstr(snapshot, key));
    assert_null(strstr(snapshot, other));
    free(key);
    free(other);
  }
  rig_corpus_free(&good);
  rig_corpus_free(&wrong);
  free(snapshot);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_chat_requests_are_mixed_as_promised),
      cmocka_unit_test(test_large_requests_end_with_the_model),
      cmocka_unit_test(test_the_snapshot_knows_every_key_that_is_sent_and_no_wrong_one),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
