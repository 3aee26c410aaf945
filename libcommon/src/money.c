// Checked micro-dollar arithmetic and its decimal text.
#include "ecolink/money.h"

#include <inttypes.h>
#include <stdio.h>

enum { FRACTION_DIGITS = 6, SECONDS_PER_HOUR = 3600 };

bool eco_money_add(int64_t a, int64_t b, int64_t *out) {
  int64_t r;
  if (__builtin_add_overflow(a, b, &r)) {
    return false;
  }
  *out = r;
  return true;
}

bool eco_money_sub(int64_t a, int64_t b, int64_t *out) {
  int64_t r;
  if (__builtin_sub_overflow(a, b, &r)) {
    return false;
  }
  *out = r;
  return true;
}

bool eco_money_mul(int64_t a, int64_t b, int64_t *out) {
  int64_t r;
  if (__builtin_mul_overflow(a, b, &r)) {
    return false;
  }
  *out = r;
  return true;
}

bool eco_money_charge(int64_t seconds, int64_t rate_micros_per_hour, int64_t gpu_count, int64_t *out) {
  if (seconds < 0 || rate_micros_per_hour < 0 || gpu_count < 0) {
    return false;
  }
  // seconds x rate fits in 126 bits; a product that leaves 127 bits is far beyond int64 after the division too.
  __int128 product = (__int128)seconds * rate_micros_per_hour;
  if (__builtin_mul_overflow(product, (__int128)gpu_count, &product) ||
      __builtin_add_overflow(product, (__int128)(SECONDS_PER_HOUR / 2), &product)) {
    return false;
  }
  product /= SECONDS_PER_HOUR;
  if (product > INT64_MAX) {
    return false;
  }
  *out = (int64_t)product;
  return true;
}

void eco_money_format(int64_t micros, char out[ECO_MONEY_TEXT_MAX]) {
  // The magnitude is unsigned because -INT64_MIN is no int64.
  uint64_t magnitude = micros < 0 ? UINT64_C(0) - (uint64_t)micros : (uint64_t)micros;
  int n = snprintf(out, ECO_MONEY_TEXT_MAX, "%s%" PRIu64 ".%06" PRIu64, micros < 0 ? "-" : "",
                   magnitude / (uint64_t)ECO_MICROS_PER_USD, magnitude % (uint64_t)ECO_MICROS_PER_USD);
  for (int dropped = 0; dropped < FRACTION_DIGITS - 2 && out[n - 1] == '0'; dropped++) {
    out[--n] = '\0';
  }
}

// Appends a digit to a magnitude of at most 2^63.
static bool push_digit(uint64_t *magnitude, unsigned digit) {
  const uint64_t limit = (uint64_t)INT64_MAX + 1;
  if (*magnitude > (limit - digit) / 10) {
    return false;
  }
  *magnitude = *magnitude * 10 + digit;
  return true;
}

bool eco_money_parse(const char *s, int64_t *micros_out) {
  bool negative = *s == '-';
  if (*s == '-' || *s == '+') {
    s++;
  }
  uint64_t magnitude = 0;
  const char *digits = s;
  for (; *s >= '0' && *s <= '9'; s++) {
    if (!push_digit(&magnitude, (unsigned)(*s - '0'))) {
      return false;
    }
  }
  if (s == digits) {
    return false;
  }
  int fraction = 0;
  if (*s == '.') {
    s++;
    for (; *s >= '0' && *s <= '9' && fraction < FRACTION_DIGITS; s++, fraction++) {
      if (!push_digit(&magnitude, (unsigned)(*s - '0'))) {
        return false;
      }
    }
    if (fraction == 0) {
      return false;
    }
  }
  if (*s != '\0') {
    return false;
  }
  for (; fraction < FRACTION_DIGITS; fraction++) {
    if (!push_digit(&magnitude, 0)) {
      return false;
    }
  }
  if (magnitude > (uint64_t)INT64_MAX) {
    if (!negative) {
      return false;
    }
    *micros_out = INT64_MIN;
    return true;
  }
  *micros_out = negative ? -(int64_t)magnitude : (int64_t)magnitude;
  return true;
}
