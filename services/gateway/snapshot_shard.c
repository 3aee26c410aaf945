// Shard tables: linear probing, removal by backward shift; see snapshot_shard.h.
#include "snapshot_shard.h"

#include "huge.h"

static uint32_t capacity_for(uint32_t want) {
  uint32_t cap = 8;
  while (cap < want * 2) {
    cap *= 2;
  }
  return cap;
}

static size_t keys_size(uint32_t cap) {
  return sizeof(gw_keys_shard) + cap * sizeof(gw_key);
}

static size_t routes_size(uint32_t cap) {
  return sizeof(gw_routes_shard) + cap * sizeof(gw_route_slot);
}

void gw_keys_free(void *shard) {
  gw_keys_shard *s = shard;
  gw_huge_free(s, s ? keys_size(s->mask + 1) : 0);
}

void gw_routes_free(void *shard) {
  gw_routes_shard *s = shard;
  gw_huge_free(s, s ? routes_size(s->mask + 1) : 0);
}

gw_key *gw_keys_slot(gw_keys_shard *s, const uint8_t hash[32]) {
  uint32_t i = gw_key_slot(hash) & s->mask;
  while (s->slots[i].cell && memcmp(s->slots[i].hash, hash, 32) != 0) {
    i = (i + 1) & s->mask;
  }
  return &s->slots[i];
}

gw_route_slot *gw_routes_slot(gw_routes_shard *s, int64_t instance_id) {
  uint32_t i = gw_route_slot_of(instance_id) & s->mask;
  while (s->slots[i].instance_id && s->slots[i].instance_id != instance_id) {
    i = (i + 1) & s->mask;
  }
  return &s->slots[i];
}

gw_keys_shard *gw_keys_copy(const gw_keys_shard *old, uint32_t want) {
  uint32_t cap = capacity_for(want);
  gw_keys_shard *s = gw_huge_alloc(keys_size(cap));
  s->mask = cap - 1;
  for (uint32_t i = 0; old && i <= old->mask; i++) {
    if (old->slots[i].cell) {
      *gw_keys_slot(s, old->slots[i].hash) = old->slots[i];
      s->count++;
    }
  }
  return s;
}

gw_routes_shard *gw_routes_copy(const gw_routes_shard *old, uint32_t want) {
  uint32_t cap = capacity_for(want);
  gw_routes_shard *s = gw_huge_alloc(routes_size(cap));
  s->mask = cap - 1;
  for (uint32_t i = 0; old && i <= old->mask; i++) {
    if (old->slots[i].instance_id) {
      *gw_routes_slot(s, old->slots[i].instance_id) = old->slots[i];
      s->count++;
    }
  }
  return s;
}

void gw_keys_remove(gw_keys_shard *s, const uint8_t hash[32]) {
  uint32_t hole = (uint32_t)(gw_keys_slot(s, hash) - s->slots);
  for (uint32_t i = (hole + 1) & s->mask; s->slots[i].cell; i = (i + 1) & s->mask) {
    uint32_t home = gw_key_slot(s->slots[i].hash) & s->mask;
    if (((i - home) & s->mask) >= ((i - hole) & s->mask)) {
      s->slots[hole] = s->slots[i];
      hole = i;
    }
  }
  memset(&s->slots[hole], 0, sizeof s->slots[hole]);
  s->count--;
}

void gw_routes_remove(gw_routes_shard *s, int64_t instance_id) {
  uint32_t hole = (uint32_t)(gw_routes_slot(s, instance_id) - s->slots);
  for (uint32_t i = (hole + 1) & s->mask; s->slots[i].instance_id; i = (i + 1) & s->mask) {
    uint32_t home = gw_route_slot_of(s->slots[i].instance_id) & s->mask;
    if (((i - home) & s->mask) >= ((i - hole) & s->mask)) {
      s->slots[hole] = s->slots[i];
      hole = i;
    }
  }
  memset(&s->slots[hole], 0, sizeof s->slots[hole]);
  s->count--;
}
