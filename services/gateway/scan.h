// The 16-byte string skip that both JSON scanners share. Pure.
#ifndef GATEWAY_SCAN_H
#define GATEWAY_SCAN_H

#include <stddef.h>
#include <stdint.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

// Index of the first '"' or '\\' in p[0..n), or n.
static inline size_t gw_skip_plain(const uint8_t *p, size_t n) {
  size_t i = 0;
#if defined(__SSE2__)
  const __m128i quote = _mm_set1_epi8('"');
  const __m128i slash = _mm_set1_epi8('\\');
  for (; i + 16 <= n; i += 16) {
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
    int hit = _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)));
    if (hit) {
      return i + (size_t)__builtin_ctz((unsigned)hit);
    }
  }
#endif
  while (i < n && p[i] != '"' && p[i] != '\\') {
    i++;
  }
  return i;
}

static inline int gw_hex_value(uint8_t c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

#endif
