// Chains of blocks: whatever way bytes came in, they are there once, in order.
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "pool.h"

enum { TOTAL = 700 * 1000 };

static uint8_t byte_at(size_t i) {
  return (uint8_t)(i * 131 + i / 251);
}

// Reads n bytes as a socket would: into the chain's own room, or elsewhere and copied.
static void receive(gw_pool *pool, gw_chain *c, size_t at, size_t n, bool into_room) {
  static uint8_t elsewhere[TOTAL];
  while (n > 0) {
    uv_buf_t room = into_room ? gw_chain_room(pool, c) : uv_buf_init((char *)elsewhere, sizeof elsewhere);
    size_t take = n < room.len ? n : room.len;
    assert_true(take > 0);
    for (size_t i = 0; i < take; i++) {
      room.base[i] = (char)byte_at(at + i);
    }
    gw_chain_add(pool, c, room.base, take);
    at += take;
    n -= take;
  }
}

static void check(const gw_chain *c, size_t from, size_t to) {
  for (size_t at = from; at < to;) {
    uv_buf_t iov[4];
    size_t bytes = 0;
    unsigned n = gw_chain_iov(c, at, to, iov, 4, &bytes);
    assert_true(n > 0);
    for (unsigned k = 0; k < n; k++) {
      for (size_t i = 0; i < iov[k].len; i++) {
        assert_int_equal((uint8_t)iov[k].base[i], byte_at(at++));
      }
    }
  }
}

static void test_bytes_read_into_the_room_and_bytes_copied_make_one_chain(void **state) {
  (void)state;
  gw_pool pool = {0};
  gw_chain c = {0};
  srand(11);
  for (size_t at = 0; at < TOTAL;) {
    size_t n = (size_t)(rand() % 100000) + 1;
    n = n < TOTAL - at ? n : TOTAL - at;
    receive(&pool, &c, at, n, rand() % 2);
    at += n;
  }
  assert_int_equal(c.end, TOTAL);
  check(&c, 0, TOTAL);
  gw_chain_release(&pool, &c, 300000);
  assert_true(c.start <= 300000 && c.start > 300000 - GW_LARGE_BLOCK);
  check(&c, c.start, TOTAL);
  gw_chain_clear(&pool, &c);
  assert_int_equal(pool.n_used, 0);
  gw_pool_drain(&pool);
}

static void test_room_that_nothing_was_read_into_is_no_part_of_the_body(void **state) {
  (void)state;
  gw_pool pool = {0};
  gw_chain c = {0};
  uv_buf_t iov[4];
  size_t bytes = 0;
  (void)gw_chain_room(&pool, &c);
  assert_int_equal(gw_chain_held(&c), 0);
  assert_int_equal(gw_chain_iov(&c, 0, 100, iov, 4, &bytes), 0);
  receive(&pool, &c, 0, 10, false);
  check(&c, 0, 10);
  gw_chain_clear(&pool, &c);
  assert_int_equal(pool.n_used, 0);
  gw_pool_drain(&pool);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bytes_read_into_the_room_and_bytes_copied_make_one_chain),
      cmocka_unit_test(test_room_that_nothing_was_read_into_is_no_part_of_the_body),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
