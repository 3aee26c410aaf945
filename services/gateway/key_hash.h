// SHA-256 of API keys, as fast as the processor can: a loop asks for one per request.
#ifndef GATEWAY_KEY_HASH_H
#define GATEWAY_KEY_HASH_H

#include <stddef.h>
#include <stdint.h>

void gw_key_hash(const void *p, size_t n, uint8_t out[32]);

#endif
