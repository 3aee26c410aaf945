// Fuzzes what the gateway takes from elsewhere without a client: bucket entries (keys, routes, health), the snapshot
// file and the usage spool's file. Damaged or hostile, they are refused whole or in part, and what is kept can be
// looked up, saved and loaded again. The input's first byte tells what the rest is.
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ecolink/clock.h"
#include "ecolink/id.h"
#include "ecolink/log.h"
#include "snapshot.h"
#include "usage_spool.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SPOOL_MAX = 64 * 1024, BATCHES_MAX = 10000 };
static char dir[64];

static void require(bool ok) {
  if (!ok) {
    abort();
  }
}

static void drop_dir(void) {
  static const char *const NAMES[] = {"snapshot", "snapshot.tmp", "usage.spool", "usage.ack"};
  char path[96];
  for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
    (void)snprintf(path, sizeof path, "%s/%s", dir, NAMES[i]);
    (void)unlink(path);
  }
  (void)rmdir(dir);
}

static void write_file(const char *name, const void *p, size_t n, char path[96]) {
  (void)snprintf(path, 96, "%s/%s", dir, name);
  const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  require(fd >= 0 && write(fd, p, n) == (ssize_t)n);
  (void)close(fd);
}

// ---- buckets ----
static void try_key(gw_store *st, const uint8_t *p, size_t n) {
  uint8_t hash[32];
  eco_sha256(p, n, hash);
  Ecolink__V1__KeyEntry *e = ecolink__v1__key_entry__unpack(NULL, n, p);
  const bool taken = e != NULL && gw_store_put_key(st, hash, e, false);
  (void)gw_store_publish(st);
  const gw_key *key = gw_snapshot_key(gw_reader_begin(st, 0), hash);
  require((key != NULL) == taken && (key == NULL || memcmp(key->hash, hash, sizeof hash) == 0));
  gw_reader_end(st, 0);
  ecolink__v1__key_entry__free_unpacked(e, NULL);
}

static void try_route(gw_store *st, const uint8_t *p, size_t n) {
  Ecolink__V1__RouteEntry *e = ecolink__v1__route_entry__unpack(NULL, n, p);
  const bool taken = gw_store_put_route(st, p, n, false);
  (void)gw_store_publish(st);
  require(!taken || (e != NULL && e->instance_id > 0));
  if (taken) {
    const gw_route *route = gw_snapshot_route(gw_reader_begin(st, 0), e->instance_id);
    require(route != NULL && route->instance_id == e->instance_id && route->n_replicas <= GW_REPLICAS_MAX);
    require(strcmp(route->account_id, e->account_id) == 0 && strcmp(route->served_name, e->served_name) == 0);
    gw_reader_end(st, 0);
  }
  ecolink__v1__route_entry__free_unpacked(e, NULL);
}

static void try_health(gw_store *st, const uint8_t *p, size_t n) {
  Ecolink__V1__RegionHealth *h = ecolink__v1__region_health__unpack(NULL, n, p);
  if (h != NULL) {
    const int64_t now_ms = eco_boottime_ms();
    gw_store_put_health(st, h, now_ms);
    (void)gw_store_publish(st);
    const gw_snapshot *s = gw_reader_begin(st, 0);
    for (size_t i = 0; i < h->n_unhealthy; i++) {
      (void)gw_snapshot_condemned(s, h->region, h->unhealthy[i]->instance_id, h->unhealthy[i]->replica_id, now_ms);
    }
    gw_reader_end(st, 0);
    gw_store_remove_health(st, h->region);
  }
  ecolink__v1__region_health__free_unpacked(h, NULL);
}

// ---- files ----
static bool checksum_holds(const uint8_t *file, size_t len) {
  uint8_t sum[32];
  return len >= sizeof sum && crypto_hash_sha256(sum, file, len - sizeof sum) == 0 &&
         memcmp(sum, file + len - sizeof sum, sizeof sum) == 0;
}

// As it lies there, and with a closing record whose checksum holds. What was loaded is saved and loaded again.
static void try_snapshot(gw_store *st, const uint8_t *p, size_t n, bool close_it) {
  static const char MAGIC[] = "ECOGWS1\n";
  const size_t magic = sizeof MAGIC - 1;
  char path[96];
  size_t keys = 0;
  size_t routes = 0;
  uint8_t *file = malloc(magic + n + 5 + 32);
  size_t len = n;
  memcpy(file, p, n);
  if (close_it) {
    memcpy(file, MAGIC, magic);
    memcpy(file + magic, p, n);
    memcpy(file + magic + n, "\0\x20\0\0\0", 5);
    len = magic + n + 5;
    crypto_hash_sha256(file + len, file, len);
    len += 32;
  }
  write_file("snapshot", file, len, path);
  const bool sound = checksum_holds(file, len);
  free(file);
  if (!eco_ok(gw_snapshot_load(st, path, &keys, &routes))) {
    require(keys == 0 && routes == 0);
    return;
  }
  require(sound);
  (void)gw_store_publish(st);
  const gw_snapshot *s = gw_reader_begin(st, 0);
  const size_t held_keys = s->n_keys;
  const size_t held_routes = s->n_routes;
  gw_reader_end(st, 0);
  require(held_keys <= keys && held_routes <= routes);
  require(eco_ok(gw_snapshot_save(st, 0, path)));
  gw_store *again = gw_store_new(1);
  require(eco_ok(gw_snapshot_load(again, path, &keys, &routes)) && routes == held_routes && keys == held_keys);
  gw_store_free(again);
}

static void try_spool(const uint8_t *p, size_t n) {
  char path[96];
  gw_spool spool;
  const size_t ack = n >= sizeof(int64_t) && (p[0] & 1) ? sizeof(int64_t) : 0;
  write_file("usage.ack", p, ack, path);
  write_file("usage.spool", p + ack, n - ack, path);
  require(eco_ok(gw_spool_open(&spool, dir, SPOOL_MAX)));
  Ecolink__V1__UsageBatch *batch;
  int64_t end = 0;
  size_t batches = 0;
  while ((batch = gw_spool_next(&spool, &end)) != NULL) {
    require(++batches < BATCHES_MAX && end <= spool.size);
    gw_spool_ack(&spool, end);
    ecolink__v1__usage_batch__free_unpacked(batch, NULL);
  }
  require(gw_spool_pending(&spool) == 0);
  // Whatever lay there, what is appended now comes out.
  Ecolink__V1__UsageBatch own = ECOLINK__V1__USAGE_BATCH__INIT;
  own.gateway = (char *)"g";
  own.sequence = 7;
  require(gw_spool_append(&spool, &own) == GW_SPOOL_KEPT);
  batch = gw_spool_next(&spool, &end);
  require(batch != NULL && batch->sequence == 7);
  ecolink__v1__usage_batch__free_unpacked(batch, NULL);
  gw_spool_close(&spool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (dir[0] == '\0') {
    require(sodium_init() >= 0);
    eco_log_init("fuzz", ECO_LOG_JSON, (eco_log_level)(ECO_LOG_ERROR + 1));
    const char *fast = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    (void)snprintf(dir, sizeof dir, "%s/ecolink-fuzz-XXXXXX", fast);
    require(mkdtemp(dir) != NULL && atexit(drop_dir) == 0);
  }
  if (size < 1) {
    return 0;
  }
  const uint8_t *p = data + 1;
  const size_t n = size - 1;
  gw_store *st = gw_store_new(1);
  switch (data[0] % 6) {
    case 0:
      try_key(st, p, n);
      break;
    case 1:
      try_route(st, p, n);
      break;
    case 2:
      try_health(st, p, n);
      break;
    case 3:
      try_snapshot(st, p, n, false);
      break;
    case 4:
      try_snapshot(st, p, n, true);
      break;
    default:
      try_spool(p, n);
  }
  gw_store_free(st);
  return 0;
}
