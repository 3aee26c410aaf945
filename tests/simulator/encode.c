// base64 (RFC 4648), SHA-1 (RFC 3174, wanted by the WebSocket handshake), hashing and small allocation helpers.
#include <stdlib.h>
#include <string.h>

#include "sim.h"

void *sim_alloc(size_t n) {
  void *p = calloc(1, n ? n : 1);
  if (!p) {
    abort();
  }
  return p;
}

char *sim_strdup(const char *s) {
  size_t n = strlen(s) + 1;
  return memcpy(sim_alloc(n), s, n);
}

char *sim_base64(const void *p, size_t n) {
  static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const uint8_t *in = p;
  char *out = sim_alloc((n + 2) / 3 * 4 + 1);
  size_t o = 0;
  for (size_t i = 0; i < n; i += 3) {
    uint32_t v = (uint32_t)in[i] << 16 | (i + 1 < n ? (uint32_t)in[i + 1] << 8 : 0) | (i + 2 < n ? in[i + 2] : 0);
    out[o++] = alphabet[v >> 18 & 63];
    out[o++] = alphabet[v >> 12 & 63];
    out[o++] = i + 1 < n ? alphabet[v >> 6 & 63] : '=';
    out[o++] = i + 2 < n ? alphabet[v & 63] : '=';
  }
  return out;
}

static uint32_t rotate(uint32_t x, int n) {
  return x << n | x >> (32 - n);
}

static void sha1_block(uint32_t h[5], const uint8_t *block) {
  uint32_t w[80];
  for (int t = 0; t < 16; t++) {
    const uint8_t *b = block + (size_t)t * 4;
    w[t] = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
  }
  for (int t = 16; t < 80; t++) {
    w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
  }
  uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
  for (int t = 0; t < 80; t++) {
    uint32_t f, k;
    if (t < 20) {
      f = (b & c) | (~b & d), k = 0x5A827999;
    } else if (t < 40) {
      f = b ^ c ^ d, k = 0x6ED9EBA1;
    } else if (t < 60) {
      f = (b & c) | (b & d) | (c & d), k = 0x8F1BBCDC;
    } else {
      f = b ^ c ^ d, k = 0xCA62C1D6;
    }
    uint32_t next = rotate(a, 5) + f + e + k + w[t];
    e = d, d = c, c = rotate(b, 30), b = a, a = next;
  }
  h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
}

void sim_sha1(const void *p, size_t n, uint8_t out[20]) {
  uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
  size_t padded = (n + 8) / 64 * 64 + 64;
  uint8_t *m = sim_alloc(padded);
  memcpy(m, p, n);
  m[n] = 0x80;
  for (int i = 0; i < 8; i++) {
    m[padded - 1 - (size_t)i] = (uint8_t)((uint64_t)n * 8 >> (8 * i));
  }
  for (size_t i = 0; i < padded; i += 64) {
    sha1_block(h, m + i);
  }
  free(m);
  for (int i = 0; i < 20; i++) {
    out[i] = (uint8_t)(h[i / 4] >> (24 - i % 4 * 8));
  }
}

uint64_t sim_hash(const void *p, size_t n) {
  const uint8_t *b = p;
  uint64_t h = 0xcbf29ce484222325u;
  for (size_t i = 0; i < n; i++) {
    h = (h ^ b[i]) * 0x100000001b3u;
  }
  return h;
}

uint64_t sim_random(uint64_t *state) {
  uint64_t z = *state += 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}
