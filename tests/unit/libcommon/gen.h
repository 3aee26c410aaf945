// Generated test cases: a small deterministic generator, so that a failure comes back with the same numbers.
#ifndef ECOLINK_TESTS_GEN_H
#define ECOLINK_TESTS_GEN_H

// cmocka.h needs the others before it.
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

typedef struct gen {
  uint64_t state;
} gen;

// splitmix64
static inline uint64_t gen_u64(gen *g) {
  uint64_t z = (g->state += UINT64_C(0x9E3779B97F4A7C15));
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return z ^ (z >> 31);
}

// In [low, high].
static inline int64_t gen_range(gen *g, int64_t low, int64_t high) {
  uint64_t span = (uint64_t)high - (uint64_t)low;
  return (int64_t)((uint64_t)low + (span == UINT64_MAX ? gen_u64(g) : gen_u64(g) % (span + 1)));
}

// Of any magnitude, small ones as likely as large ones.
static inline int64_t gen_i64(gen *g) {
  return (int64_t)gen_u64(g) >> (gen_u64(g) % 64);
}

#endif
