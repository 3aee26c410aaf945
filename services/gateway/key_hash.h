// SHA-256 of API keys, as fast as the processor can: a loop asks for one per request. OpenSSL's uses the processor's
// SHA instructions, and a context that was prepared once spares the search for the algorithm.
#ifndef GATEWAY_KEY_HASH_H
#define GATEWAY_KEY_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct gw_key_hash gw_key_hash;  // of one loop: not to be shared by threads

gw_key_hash *gw_key_hash_new(void);  // never NULL: without memory the process ends
void gw_key_hash_free(gw_key_hash *h);
void gw_key_hash_of(gw_key_hash *h, const void *p, size_t n, uint8_t out[32]);

#endif
