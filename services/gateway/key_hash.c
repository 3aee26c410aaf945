// OpenSSL's own SHA-256 uses the processor's SHA instructions. Its EVP interface would do so too, but allocates
// whenever a context begins again; see key_hash.h.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "key_hash.h"

#include <openssl/sha.h>
#include <stdlib.h>

void gw_key_hash(const void *p, size_t n, uint8_t out[32]) {
  SHA256_CTX context;
  // A wrong hash would let nobody in, but none at all must not let the last one in again.
  if (SHA256_Init(&context) != 1 || SHA256_Update(&context, p, n) != 1 || SHA256_Final(out, &context) != 1) {
    abort();
  }
}
