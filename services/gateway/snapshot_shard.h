// The open-addressing tables inside a snapshot's shards. Pure; the writer's side only, but for the two slot functions.
#ifndef GATEWAY_SNAPSHOT_SHARD_H
#define GATEWAY_SNAPSHOT_SHARD_H

#include <string.h>

#include "snapshot.h"

static inline uint32_t gw_key_slot(const uint8_t hash[32]) {
  uint32_t v;
  memcpy(&v, hash + 1, sizeof v);  // hash[0] chose the shard
  return v;
}
static inline uint64_t gw_mix64(uint64_t x) {
  x ^= x >> 33;
  x *= UINT64_C(0xff51afd7ed558ccd);
  x ^= x >> 33;
  x *= UINT64_C(0xc4ceb9fe1a85ec53);
  return x ^ (x >> 33);
}
static inline uint8_t gw_route_shard(int64_t instance_id) {
  return (uint8_t)gw_mix64((uint64_t)instance_id);
}
static inline uint32_t gw_route_slot_of(int64_t instance_id) {
  return (uint32_t)(gw_mix64((uint64_t)instance_id) >> 8);
}

// A copy of old (may be NULL) with room for `want` entries at load <= 1/2.
gw_keys_shard *gw_keys_copy(const gw_keys_shard *old, uint32_t want);
gw_routes_shard *gw_routes_copy(const gw_routes_shard *old, uint32_t want);
void gw_keys_free(void *shard);  // a gw_keys_shard or NULL; not what its entries point to
void gw_routes_free(void *shard);
// The entry's slot, or the empty one where it belongs.
gw_key *gw_keys_slot(gw_keys_shard *s, const uint8_t hash[32]);
gw_route_slot *gw_routes_slot(gw_routes_shard *s, int64_t instance_id);
// Removes an entry that is there, closing the gap (no tombstones).
void gw_keys_remove(gw_keys_shard *s, const uint8_t hash[32]);
void gw_routes_remove(gw_routes_shard *s, int64_t instance_id);

#endif
