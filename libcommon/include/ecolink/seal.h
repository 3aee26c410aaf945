// Sealing secrets to the scheduler: anybody with the public key seals, only the scheduler opens (libsodium
// crypto_box_seal, X25519 + XSalsa20-Poly1305). Keys travel as lower-case hex in configuration. Any thread.
#ifndef ECOLINK_SEAL_H
#define ECOLINK_SEAL_H

#include <stdint.h>

#include "ecolink/arena.h"
#include "ecolink/status.h"

enum { ECO_SEAL_KEY_LEN = 32, ECO_SEAL_OVERHEAD = 48 };
typedef struct eco_seal_key {
  uint8_t bytes[ECO_SEAL_KEY_LEN];
} eco_seal_key;

ECO_CHECKED eco_status eco_seal_key_parse(const char *hex, eco_seal_key *out);
void eco_seal_keypair(eco_seal_key *public_out, eco_seal_key *secret_out);
// *box_out is of n + ECO_SEAL_OVERHEAD bytes in the arena.
void eco_seal(const eco_seal_key *public_key, const void *plain, size_t n, eco_arena *arena, uint8_t **box_out,
              size_t *len_out);
// *plain_out is in the arena, NUL-terminated for convenience. ECO_INVALID_REQUEST when it was not sealed to this key.
ECO_CHECKED eco_status eco_unseal(const eco_seal_key *public_key, const eco_seal_key *secret_key, const void *box,
                                  size_t n, eco_arena *arena, char **plain_out, size_t *len_out);

#endif
