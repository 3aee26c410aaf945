// The vector skips that both JSON scanners share. Pure.
#ifndef GATEWAY_SCAN_H
#define GATEWAY_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#if defined(__SSE2__)
// One bit for each of 16 bytes that equals c.
static inline uint32_t gw_equal_16(const uint8_t *p, char c) {
  __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
  return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(c)));
}
static inline uint64_t gw_equal_64(const uint8_t *p, char c) {
  return (uint64_t)gw_equal_16(p, c) | (uint64_t)gw_equal_16(p + 16, c) << 16 | (uint64_t)gw_equal_16(p + 32, c) << 32 |
         (uint64_t)gw_equal_16(p + 48, c) << 48;
}
#endif

// Index of the first '"' or '\\' in p[0..n), or n.
static inline size_t gw_skip_plain(const uint8_t *p, size_t n) {
  size_t i = 0;
#if defined(__SSE2__)
  for (; i + 16 <= n; i += 16) {
    uint32_t hit = gw_equal_16(p + i, '"') | gw_equal_16(p + i, '\\');
    if (hit) {
      return i + (size_t)__builtin_ctz(hit);
    }
  }
#endif
  while (i < n && p[i] != '"' && p[i] != '\\') {
    i++;
  }
  return i;
}

// Index of the quote that ends a string whose inside begins at p, or n. *escape: the first byte is a backslash's; set
// again when the last one is a backslash. Prompts are full of escapes: they do not stop the skip.
static inline size_t gw_skip_string(const uint8_t *p, size_t n, bool *escape) {
  size_t i = 0;
#if defined(__SSE2__)
  if (n >= 16 && !*escape) {  // most strings are short and plain
    uint32_t quotes = gw_equal_16(p, '"');
    uint32_t open = quotes | gw_equal_16(p, '\\');
    if (open & -open & quotes) {
      return (size_t)__builtin_ctz(open);
    }
  }
  for (; i + 64 <= n; i += 64) {
    uint64_t quotes = gw_equal_64(p + i, '"');
    uint64_t open = quotes | gw_equal_64(p + i, '\\');
    open &= ~(uint64_t)*escape;
    *escape = false;
    while (open) {
      unsigned at = (unsigned)__builtin_ctzll(open);
      if (quotes >> at & 1) {
        return i + at;
      }
      *escape = at == 63;
      open &= ~(UINT64_C(3) << at);  // the backslash and what it hides
    }
  }
#endif
  for (; i < n; i++) {
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

static inline int gw_hex_value(uint8_t c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

#endif
