// Keys, routes and health verdicts as the loops see them: an immutable snapshot that the bus side publishes and each
// loop picks up once per turn.
//
//   snapshot --> keys[256]   --> shard: open addressing on the hash's first bytes
//            --> routes[256] --> shard: open addressing on the instance id --> route (immutable)
//            --> health
// A change copies one shard, the root and nothing else (copy on write). Memory is given back by epochs: a reader says
// in which epoch it is active; what was retired before every active reader began is freed (quiescent-state
// reclamation). Readers take no lock and write no shared line but their own.
//
// Threads: gw_store_* (the writer side) from any thread, under its own mutex; gw_reader_* from the reader's thread
// alone.
#ifndef GATEWAY_SNAPSHOT_H
#define GATEWAY_SNAPSHOT_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ecolink/status.h"
#include "ecolink/v1/health.pb-c.h"
#include "ecolink/v1/registry.pb-c.h"
#include "ecolink/v1/scheduler.pb-c.h"
#include "gw_limits.h"
#include "name_table.h"

enum {
  GW_ID_LEN = 40,
  GW_REGION_LEN = 40,
  GW_NAME_LEN = 130,
  GW_PATH_LEN = 256,
  GW_DETAIL_LEN = 160,
  GW_HOST_LEN = 72
};

// Each request meets a key, a route and a replica that the processor's caches have forgotten since: what it reads of
// each stands together at the front, and cache lines are not straddled.

// What all loops share about one key: its counters, and who it is. Lives until the process ends.
typedef struct gw_cell {
  _Alignas(64) _Atomic int64_t tat_us;  // GCRA, on the monotonic clock
  _Atomic int64_t in_flight;
  char account_id[GW_ID_LEN];
  char key_id[GW_ID_LEN];
  char member_id[GW_ID_LEN];
  char operator_id[GW_ID_LEN];
  struct gw_cell *next;  // of all cells that the store ever made
} gw_cell;

_Static_assert(offsetof(gw_cell, key_id) <= 64, "a request reads one line");

typedef struct gw_key {
  uint8_t hash[32];
  gw_cell *cell;  // NULL: an empty slot
  int64_t expires_at_us;
  int64_t spend_cap_micros;
  int32_t rate_limit;  // 0: the default
  uint8_t role;        // Ecolink__V1__Role
  bool revoked;
  bool from_file;
} gw_key;
_Static_assert(sizeof(gw_key) == 64, "one cache line");

typedef struct gw_route_replica {
  int32_t id;
  uint64_t run;   // of run_id: tells one run from the next at the same address
  bool resolved;  // addr is set
  gw_sockaddr addr;
  char region[GW_REGION_LEN];
  char host[GW_HOST_LEN];  // "host:port", for the Host header
  const char *token;
  gw_name *name;  // that addr is of; NULL: the host is an address. No request reads it
} gw_route_replica;

typedef struct gw_route {
  _Alignas(64) int64_t instance_id;
  uint64_t serial;  // no other route of this store has it: who has seen it knows all that follows
  int32_t status;   // Ecolink__V1__InstanceStatus
  bool openai_compatible;
  uint8_t n_replicas;
  char account_id[GW_ID_LEN];
  char served_name[GW_NAME_LEN];
  bool from_file;
  int32_t retry_after_s;
  int64_t created_at_us;
  char custom_api_path[GW_PATH_LEN];
  char status_detail[GW_DETAIL_LEN];
  uint8_t *packed;  // the message as it came, for the snapshot file
  size_t packed_len;
  size_t size;  // of this object, with the tokens that follow it
  gw_route_replica replicas[];
} gw_route;

typedef struct gw_keys_shard {
  uint32_t count;
  uint32_t mask;
  _Alignas(64) gw_key slots[];
} gw_keys_shard;
typedef struct gw_route_slot {
  int64_t instance_id;  // 0: empty
  gw_route *route;
} gw_route_slot;
typedef struct gw_routes_shard {
  uint32_t count;
  uint32_t mask;
  gw_route_slot slots[];
} gw_routes_shard;

typedef struct gw_verdict {
  int64_t instance_id;
  int32_t replica_id;
} gw_verdict;
typedef struct gw_region_health {
  char region[GW_REGION_LEN];
  int64_t expires_ms;  // eco_boottime_ms
  size_t n;
  gw_verdict *unhealthy;
} gw_region_health;
typedef struct gw_health {
  size_t n;
  gw_region_health regions[];
} gw_health;

typedef struct gw_snapshot {
  gw_keys_shard *keys[GW_SHARDS];      // NULL: empty
  gw_routes_shard *routes[GW_SHARDS];  // NULL: empty
  gw_health *health;                   // NULL: none
  size_t n_keys;
  size_t n_routes;
} gw_snapshot;

// ---- looking up (readers; results are borrowed until the end of the turn) ----
const gw_key *gw_snapshot_key(const gw_snapshot *s, const uint8_t hash[32]);  // compares all 32 bytes in constant time
const gw_route *gw_snapshot_route(const gw_snapshot *s, int64_t instance_id);
bool gw_snapshot_condemned(const gw_snapshot *s, const char *region, int64_t instance_id, int32_t replica_id,
                           int64_t now_ms);

// ---- writing ----
typedef struct gw_store gw_store;
gw_store *gw_store_new(unsigned readers_max);
void gw_store_free(gw_store *st);  // no reader may be active
// Each applies one message; nothing is seen before gw_store_publish. False: refused (malformed), logged by the caller.
bool gw_store_put_key(gw_store *st, const uint8_t hash[32], const Ecolink__V1__KeyEntry *e, bool from_file);
void gw_store_remove_key(gw_store *st, const uint8_t hash[32]);
bool gw_store_put_route(gw_store *st, const uint8_t *packed, size_t len, bool from_file);
void gw_store_remove_route(gw_store *st, int64_t instance_id);
void gw_store_put_health(gw_store *st, const Ecolink__V1__RegionHealth *h, int64_t now_ms);
void gw_store_remove_health(gw_store *st, const char *region);
// After the first full read from the bus: what only the file knew is gone.
void gw_store_drop_file_keys(gw_store *st);
void gw_store_drop_file_routes(gw_store *st);
// A store is behind while the bus is there and its buckets have not been read since the start, or while nothing was
// ever known: what it lacks may exist all the same. Any thread.
void gw_store_set_behind(gw_store *st, bool behind);
bool gw_store_is_behind(const gw_store *st);
// From here on until gw_store_stop() names of replicas' hosts are looked up; before, they have no address.
void gw_store_start(gw_store *st);
void gw_store_stop(gw_store *st);
// Makes the changes since the last call visible and frees what no reader can hold any more. False: there were none.
bool gw_store_publish(gw_store *st);
uint64_t gw_store_changes(gw_store *st);  // grows with each applied change of keys or routes

// ---- reading ----
// Registers reader `index` < readers_max as active and gives the newest snapshot; borrowed until gw_reader_end.
const gw_snapshot *gw_reader_begin(gw_store *st, unsigned index);
void gw_reader_end(gw_store *st, unsigned index);

// ---- the snapshot file (snapshot_file.c) ----
// "ECOGWS1\n", then records [u8 type][u32 length][payload] (little-endian), type 1 key (32 bytes of hash + KeyEntry),
// 2 route (RouteEntry), 0 end with the SHA-256 of all before. Written to <path>.tmp, under the lock of <path>.lock,
// and renamed. Saving fails (ECO_OVERLOADED) while another process does it.
eco_status gw_snapshot_save(gw_store *st, unsigned reader, const char *path);
eco_status gw_snapshot_load(gw_store *st, const char *path, size_t *keys, size_t *routes);
// `ecolink-gateway snapshot-from-json IN OUT`: for tests and for operators in need. Returns the exit code.
int gw_snapshot_from_json(const char *in, const char *out);

#endif
