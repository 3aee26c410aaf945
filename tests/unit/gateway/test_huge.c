// Memory on huge pages: aligned, zeroed however often it was used before, and nobody else's.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"

#define GW_HUGE_CARVED
#include "huge.c"  // NOLINT(bugprone-suspicious-include): carved under AddressSanitizer, too

enum { HELD = 300, ROUNDS = 6000, LARGEST = 3 * 1024 * 1024 };

typedef struct piece {
  uint8_t *p;
  size_t n;
  uint8_t mark;
} piece;

// Mostly small, some of every class, a few beyond all of them.
static size_t some_size(void) {
  switch (rand() % 20) {
    case 0:
      return (size_t)(rand() % LARGEST) + 1;
    case 1:
    case 2:
      return (size_t)(rand() % (512 * 1024)) + 1;
    case 3:
      return (size_t)4096 << (rand() % 8);  // the classes' own bounds
    default:
      return (size_t)(rand() % 5000);
  }
}

static void take(piece *at, uint8_t mark) {
  *at = (piece){.n = some_size(), .mark = mark};
  at->p = gw_huge_alloc(at->n);
  assert_int_equal((uintptr_t)at->p % 64, 0);
  for (size_t i = 0; i < at->n; i++) {
    assert_int_equal(at->p[i], 0);
  }
  memset(at->p, mark, at->n);
}

static void give_back(piece *at) {
  for (size_t i = 0; i < at->n; i++) {
    assert_int_equal(at->p[i], at->mark);  // nobody else wrote there
  }
  gw_huge_free(at->p, at->n);
  *at = (piece){0};
}

static void test_pieces_are_zeroed_aligned_and_apart(void **state) {
  (void)state;
  static piece held[HELD];
  srand(5);
  for (int step = 0; step < ROUNDS; step++) {
    piece *at = &held[rand() % HELD];
    if (at->p) {
      give_back(at);
    } else {
      take(at, (uint8_t)(step % 255 + 1));
    }
  }
  for (size_t i = 0; i < HELD; i++) {
    if (held[i].p) {
      give_back(&held[i]);
    }
  }
  gw_huge_free(NULL, 100);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_pieces_are_zeroed_aligned_and_apart),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
