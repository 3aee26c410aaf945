// Money: int64 micro-dollars (1 USD = 1,000,000) with checked arithmetic. No floating point touches money.
// Pure, any thread. Each function that can overflow returns false and leaves *out alone.
#ifndef ECOLINK_MONEY_H
#define ECOLINK_MONEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ECO_MICROS_PER_USD INT64_C(1000000)
enum { ECO_MONEY_TEXT_MAX = 32 };

bool eco_money_add(int64_t a, int64_t b, int64_t *out) __attribute__((warn_unused_result));
bool eco_money_sub(int64_t a, int64_t b, int64_t *out) __attribute__((warn_unused_result));
bool eco_money_mul(int64_t a, int64_t b, int64_t *out) __attribute__((warn_unused_result));
// round half up of seconds x rate_micros_per_hour x gpu_count / 3600, in one 128-bit division. All arguments >= 0.
bool eco_money_charge(int64_t seconds, int64_t rate_micros_per_hour, int64_t gpu_count, int64_t *out)
    __attribute__((warn_unused_result));
// Decimal dollars, at least two fraction digits, no trailing zeros beyond: 76800000 -> "76.80", 1 -> "0.000001", -5 ->
// "-0.000005".
void eco_money_format(int64_t micros, char out[ECO_MONEY_TEXT_MAX]);
// Exact inverse for up to 6 fraction digits and an optional sign; false for anything else (no exponent, no blanks).
bool eco_money_parse(const char *s, int64_t *micros_out) __attribute__((warn_unused_result));

#endif
