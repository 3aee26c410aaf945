// Random identifiers and API keys in lower-case Crockford base32, hashing, and the model string.
#include "ecolink/id.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sodium_once.h"

enum { ID_BYTES = 16, ID_CHARS = 26, KEY_BYTES = 32, KEY_CHARS = 52, PREFIX_MAX = 8 };

static const char ALPHABET[] = "0123456789abcdefghjkmnpqrstvwxyz";
static const char KEY_PREFIX[] = "eco_";

static void sodium_start(void) {
  if (sodium_init() < 0) {
    fprintf(stderr, "libsodium cannot start: the system gives no randomness\n");
    abort();
  }
}

void eco_sodium_once(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  (void)pthread_once(&once, sodium_start);
}

// Most significant bit first; the last character is padded with zero bits. Writes ceil(8n / 5) characters and a NUL.
static void base32(const uint8_t *p, size_t n, char *out) {
  unsigned bits = 0;
  unsigned held = 0;
  for (size_t i = 0; i < n; i++) {
    bits = (bits << 8) | p[i];
    held += 8;
    while (held >= 5) {
      held -= 5;
      *out++ = ALPHABET[(bits >> held) & 31];
    }
    bits &= 31;
  }
  if (held > 0) {
    *out++ = ALPHABET[(bits << (5 - held)) & 31];
  }
  *out = '\0';
}

// Digits and lower-case letters but for those that look like others: i, l, o, u. Asked for every request's key, so it
// is looked up, and all bytes are: nothing is learnt from the time it takes.
static bool in_alphabet(const char *s, size_t n) {
  static const uint8_t IS[256] = {
      ['0'] = 1, ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1, ['5'] = 1, ['6'] = 1, ['7'] = 1,
      ['8'] = 1, ['9'] = 1, ['a'] = 1, ['b'] = 1, ['c'] = 1, ['d'] = 1, ['e'] = 1, ['f'] = 1,
      ['g'] = 1, ['h'] = 1, ['j'] = 1, ['k'] = 1, ['m'] = 1, ['n'] = 1, ['p'] = 1, ['q'] = 1,
      ['r'] = 1, ['s'] = 1, ['t'] = 1, ['v'] = 1, ['w'] = 1, ['x'] = 1, ['y'] = 1, ['z'] = 1,
  };
  uint8_t all = 1;
  for (size_t i = 0; i < n; i++) {
    all &= IS[(uint8_t)s[i]];
  }
  return all == 1;
}

void eco_id_new(const char *prefix, char out[ECO_ID_MAX]) {
  eco_sodium_once();
  uint8_t random[ID_BYTES];
  char text[ID_CHARS + 1];
  randombytes_buf(random, sizeof(random));
  base32(random, sizeof(random), text);
  (void)snprintf(out, ECO_ID_MAX, "%.*s_%s", PREFIX_MAX, prefix, text);
}

bool eco_id_is(const char *id, const char *prefix) {
  if (id == NULL) {
    return false;
  }
  size_t len = strlen(prefix);
  if (strncmp(id, prefix, len) != 0 || id[len] != '_') {
    return false;
  }
  const char *rest = id + len + 1;
  return strlen(rest) == ID_CHARS && in_alphabet(rest, ID_CHARS);
}

void eco_api_key_new(char out[ECO_API_KEY_LEN + 1]) {
  eco_sodium_once();
  uint8_t random[KEY_BYTES];
  randombytes_buf(random, sizeof(random));
  memcpy(out, KEY_PREFIX, sizeof(KEY_PREFIX) - 1);
  base32(random, sizeof(random), out + sizeof(KEY_PREFIX) - 1);
  sodium_memzero(random, sizeof(random));
}

bool eco_api_key_is(const char *s, size_t n) {
  return n == ECO_API_KEY_LEN && memcmp(s, KEY_PREFIX, sizeof(KEY_PREFIX) - 1) == 0 &&
         in_alphabet(s + sizeof(KEY_PREFIX) - 1, KEY_CHARS);
}

void eco_sha256(const void *p, size_t n, uint8_t out[32]) {
  eco_sodium_once();
  (void)crypto_hash_sha256(out, p, n);
}

void eco_hex(const uint8_t *p, size_t n, char *out) {
  static const char digits[] = "0123456789abcdef";
  for (size_t i = 0; i < n; i++) {
    out[2 * i] = digits[p[i] >> 4];
    out[2 * i + 1] = digits[p[i] & 15];
  }
  out[2 * n] = '\0';
}

bool eco_model_string_parse(const char *s, size_t n, size_t *name_len, int64_t *instance) {
  const char *colon = n > 0 ? memrchr(s, ':', n) : NULL;
  if (colon == NULL || colon == s) {
    return false;
  }
  const char *digits = colon + 1;
  const char *end = s + n;
  if (digits == end || *digits == '0') {
    return false;
  }
  int64_t value = 0;
  for (const char *p = digits; p < end; p++) {
    if (*p < '0' || *p > '9' || __builtin_mul_overflow(value, INT64_C(10), &value) ||
        __builtin_add_overflow(value, (int64_t)(*p - '0'), &value)) {
      return false;
    }
  }
  *name_len = (size_t)(colon - s);
  *instance = value;
  return true;
}
