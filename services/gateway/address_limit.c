// One number per slot; see address_limit.h.
#include "address_limit.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <string.h>

#include "gw_limits.h"

static _Atomic int64_t tat_us[GW_ADDRESS_SLOTS];
static uint8_t hash_key[crypto_shorthash_KEYBYTES];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_key(void) {
  randombytes_buf(hash_key, sizeof hash_key);
}

static gw_address of_v4(const struct in_addr *v4) {
  gw_address a = {.bytes = {[10] = 0xff, [11] = 0xff}};
  memcpy(a.bytes + 12, v4, 4);
  return a;
}

static gw_address of_v6(const struct in6_addr *v6) {
  gw_address a = {{0}};
  memcpy(a.bytes, v6, IN6_IS_ADDR_V4MAPPED(v6) ? 16 : 8);
  return a;
}

gw_address gw_address_of(const struct sockaddr *peer) {
  if (peer->sa_family == AF_INET6) {
    return of_v6(&((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr);
  }
  return of_v4(&((const struct sockaddr_in *)(const void *)peer)->sin_addr);
}

bool gw_address_forwarded(const char *list, size_t n, gw_address *out) {
  char text[INET6_ADDRSTRLEN];
  struct in_addr v4;
  struct in6_addr v6;
  const char *comma = memrchr(list, ',', n);
  const char *p = comma != NULL ? comma + 1 : list;
  size_t len = n - (size_t)(p - list);
  for (; len > 0 && (*p == ' ' || *p == '\t'); len--) {
    p++;
  }
  while (len > 0 && (p[len - 1] == ' ' || p[len - 1] == '\t')) {
    len--;
  }
  if (len == 0 || len >= sizeof text) {
    return false;
  }
  memcpy(text, p, len);
  text[len] = 0;
  if (inet_pton(AF_INET, text, &v4) == 1) {
    *out = of_v4(&v4);
    return true;
  }
  if (inet_pton(AF_INET6, text, &v6) == 1) {
    *out = of_v6(&v6);
    return true;
  }
  return false;
}

gw_limit gw_address_limit(const gw_address *address, int64_t now_us, int32_t per_minute) {
  uint64_t hash = 0;
  _Static_assert(sizeof hash == crypto_shorthash_BYTES, "SipHash gives 64 bits");
  pthread_once(&once, make_key);
  crypto_shorthash((uint8_t *)&hash, address->bytes, sizeof address->bytes, hash_key);
  return gw_limit_take(&tat_us[hash % GW_ADDRESS_SLOTS], now_us, per_minute);
}
