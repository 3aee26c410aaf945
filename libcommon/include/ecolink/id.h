// Identifiers and randomness. Any thread (libsodium's generator).
#ifndef ECOLINK_ID_H
#define ECOLINK_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  ECO_ID_MAX = 40,              // prefix up to 8 + '_' + 26 + NUL
  ECO_API_KEY_LEN = 4 + 52,     // "eco_" + 256 bits in Crockford base32
  ECO_API_KEY_PREFIX_LEN = 12,  // what is kept readable: "eco_" and 8 characters
  ECO_SHA256_HEX_LEN = 64,
};

// "<prefix>_" + 128 random bits in lower-case Crockford base32 (26 characters).
void eco_id_new(const char *prefix, char out[ECO_ID_MAX]);
bool eco_id_is(const char *id, const char *prefix);  // right prefix, length and alphabet
void eco_api_key_new(char out[ECO_API_KEY_LEN + 1]);
// Exactly "eco_" and 52 characters of the alphabet; n is the length of s, which need not end with NUL.
bool eco_api_key_is(const char *s, size_t n);
void eco_sha256(const void *p, size_t n, uint8_t out[32]);
void eco_hex(const uint8_t *p, size_t n, char *out);  // 2n + NUL
// Parses "<name>:<instance>", instance a decimal in 1..INT64_MAX without sign or leading zero. *name_len = bytes before
// the last ':'. False when it is not of that form or the name is empty.
bool eco_model_string_parse(const char *s, size_t n, size_t *name_len, int64_t *instance);

#endif
