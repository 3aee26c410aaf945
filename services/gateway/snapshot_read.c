// What loops look up in a snapshot; see snapshot.h.
#include <string.h>

#include "snapshot.h"
#include "snapshot_shard.h"

static bool equal_32(const uint8_t *a, const uint8_t *b) {
  uint8_t diff = 0;
  for (size_t i = 0; i < 32; i++) {
    diff |= (uint8_t)(a[i] ^ b[i]);
  }
  return diff == 0;
}

const gw_key *gw_snapshot_key(const gw_snapshot *s, const uint8_t hash[32]) {
  const gw_keys_shard *shard = s->keys[hash[0]];
  if (!shard) {
    return NULL;
  }
  for (uint32_t i = gw_key_slot(hash) & shard->mask; shard->slots[i].cell; i = (i + 1) & shard->mask) {
    if (equal_32(shard->slots[i].hash, hash)) {
      return &shard->slots[i];
    }
  }
  return NULL;
}

const gw_route *gw_snapshot_route(const gw_snapshot *s, int64_t instance_id) {
  const gw_routes_shard *shard = s->routes[gw_route_shard(instance_id)];
  if (!shard || instance_id <= 0) {
    return NULL;
  }
  for (uint32_t i = gw_route_slot_of(instance_id) & shard->mask; shard->slots[i].instance_id;
       i = (i + 1) & shard->mask) {
    if (shard->slots[i].instance_id == instance_id) {
      return shard->slots[i].route;
    }
  }
  return NULL;
}

bool gw_snapshot_condemned(const gw_snapshot *s, const char *region, int64_t instance_id, int32_t replica_id,
                           int64_t now_ms) {
  for (size_t i = 0; s->health && i < s->health->n; i++) {
    const gw_region_health *r = &s->health->regions[i];
    if (now_ms >= r->expires_ms || strcmp(r->region, region) != 0) {
      continue;
    }
    for (size_t k = 0; k < r->n; k++) {
      if (r->unhealthy[k].instance_id == instance_id && r->unhealthy[k].replica_id == replica_id) {
        return true;
      }
    }
  }
  return false;
}
