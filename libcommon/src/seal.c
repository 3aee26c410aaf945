// Sealed boxes for secrets that only the scheduler may read.
#include "ecolink/seal.h"

#include <string.h>

#include "sodium_once.h"

_Static_assert(ECO_SEAL_KEY_LEN == crypto_box_PUBLICKEYBYTES, "size of a public key");
_Static_assert(ECO_SEAL_KEY_LEN == crypto_box_SECRETKEYBYTES, "size of a secret key");
_Static_assert(ECO_SEAL_OVERHEAD == crypto_box_SEALBYTES, "overhead of a sealed box");

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

eco_status eco_seal_key_parse(const char *hex, eco_seal_key *out) {
  eco_seal_key key;
  if (hex == NULL || strlen(hex) != 2 * ECO_SEAL_KEY_LEN) {
    return eco_error(ECO_INVALID_REQUEST, "a sealing key is %d lower-case hex digits", 2 * ECO_SEAL_KEY_LEN);
  }
  for (size_t i = 0; i < ECO_SEAL_KEY_LEN; i++) {
    int high = hex_digit(hex[2 * i]);
    int low = hex_digit(hex[2 * i + 1]);
    if (high < 0 || low < 0) {
      return eco_error(ECO_INVALID_REQUEST, "a sealing key is %d lower-case hex digits", 2 * ECO_SEAL_KEY_LEN);
    }
    key.bytes[i] = (uint8_t)(high * 16 + low);
  }
  *out = key;
  sodium_memzero(&key, sizeof(key));
  return eco_success();
}

void eco_seal_keypair(eco_seal_key *public_out, eco_seal_key *secret_out) {
  eco_sodium_once();
  (void)crypto_box_keypair(public_out->bytes, secret_out->bytes);
}

void eco_seal(const eco_seal_key *public_key, const void *plain, size_t n, eco_arena *arena, uint8_t **box_out,
              size_t *len_out) {
  eco_sodium_once();
  uint8_t *box = eco_alloc(arena, n + ECO_SEAL_OVERHEAD);
  if (crypto_box_seal(box, plain, n, public_key->bytes) != 0) {
    // Only a low-order public key gets here: nothing can be sealed to it, and an empty box opens nowhere.
    *box_out = box;
    *len_out = 0;
    return;
  }
  *box_out = box;
  *len_out = n + ECO_SEAL_OVERHEAD;
}

eco_status eco_unseal(const eco_seal_key *public_key, const eco_seal_key *secret_key, const void *box, size_t n,
                      eco_arena *arena, char **plain_out, size_t *len_out) {
  eco_sodium_once();
  if (n < ECO_SEAL_OVERHEAD) {
    return eco_error(ECO_INVALID_REQUEST, "the sealed secret is too short to be one");
  }
  size_t len = n - ECO_SEAL_OVERHEAD;
  char *plain = eco_alloc(arena, len + 1);
  if (crypto_box_seal_open((unsigned char *)plain, box, n, public_key->bytes, secret_key->bytes) != 0) {
    return eco_error(ECO_INVALID_REQUEST, "the secret was not sealed to this scheduler's key; enter it again");
  }
  *plain_out = plain;
  *len_out = len;
  return eco_success();
}
