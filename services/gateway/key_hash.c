// The prepared context; see key_hash.h.
#include "key_hash.h"

#include <openssl/evp.h>
#include <stdlib.h>

struct gw_key_hash {
  EVP_MD *algorithm;
  EVP_MD_CTX *context;
};

gw_key_hash *gw_key_hash_new(void) {
  gw_key_hash *h = malloc(sizeof *h);
  if (!h) {
    abort();
  }
  h->algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
  h->context = EVP_MD_CTX_new();
  if (!h->algorithm || !h->context || EVP_DigestInit_ex(h->context, h->algorithm, NULL) != 1) {
    abort();
  }
  return h;
}

void gw_key_hash_free(gw_key_hash *h) {
  EVP_MD_CTX_free(h->context);
  EVP_MD_free(h->algorithm);
  free(h);
}

void gw_key_hash_of(gw_key_hash *h, const void *p, size_t n, uint8_t out[32]) {
  // A wrong hash would let nobody in, but none at all must not let the last one in again.
  if (EVP_DigestInit_ex(h->context, NULL, NULL) != 1 || EVP_DigestUpdate(h->context, p, n) != 1 ||
      EVP_DigestFinal_ex(h->context, out, NULL) != 1) {
    abort();
  }
}
