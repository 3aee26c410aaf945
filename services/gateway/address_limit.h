// The rate limit of those who bring no valid key, by address: guessing at keys and invitations, and the public routes.
//
//   address --keyed hash--> tat[GW_ADDRESS_SLOTS]     one GCRA number each, shared by all loops
//
// Memory is fixed: addresses that fall on one slot share its limit, and nobody can choose to (the hash's key is
// random). IPv4 counts whole, IPv6 by its first 64 bits, which is what one customer is given.
#ifndef GATEWAY_ADDRESS_LIMIT_H
#define GATEWAY_ADDRESS_LIMIT_H

#include <netinet/in.h>

#include "ratelimit.h"

typedef struct gw_address {
  uint8_t bytes[16];
} gw_address;

gw_address gw_address_of(const struct sockaddr *peer);
// The last member of an X-Forwarded-For list: the one that the nearest proxy wrote. False: it is no address.
bool gw_address_forwarded(const char *list, size_t n, gw_address *out);

// Counts one request. Any thread; no lock. `per_minute` >= 1.
gw_limit gw_address_limit(const gw_address *address, int64_t now_us, int32_t per_minute);

#endif
