// The vector skips that both JSON scanners share. Pure.
#ifndef GATEWAY_SCAN_H
#define GATEWAY_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#if defined(__SSE2__)
// One bit for each of 16 bytes that equals c.
static inline uint32_t gw_equal_16(const uint8_t *p, char c) {
  __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
  return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(c)));
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

// Whether an odd run of backslashes stands before p[at], so that they hide it. `before`: so it is with p[0].
static inline bool gw_hidden(const uint8_t *p, size_t at, bool before) {
  size_t run = 0;
  while (run < at && p[at - 1 - run] == '\\') {
    run++;
  }
  return (run + (run == at && before)) % 2 == 1;
}

// Index of the quote that ends a string whose inside begins at p, or n. *escape: the first byte is a backslash's; set
// again when the last one is a backslash. Prompts are full of escapes and have few quotes: only quotes are looked for.
static inline size_t gw_skip_string(const uint8_t *p, size_t n, bool *escape) {
  for (size_t from = 0;;) {
    const uint8_t *quote = memchr(p + from, '"', n - from);
    const size_t at = quote ? (size_t)(quote - p) : n;
    const bool hidden = gw_hidden(p, at, *escape);
    if (!quote || !hidden) {
      *escape = hidden;
      return at;
    }
    from = at + 1;
  }
}

static inline int gw_hex_value(uint8_t c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

#endif
