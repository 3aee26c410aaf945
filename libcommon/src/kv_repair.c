// The bucket against the table: puts what is missing or older, marks what should not be there, removes old tombstones,
// and last bumps `_generation`, so that readers know the bucket is whole. A bucket that is ahead of its table tells of
// a restored backup: then the epoch is raised and everything is put anew.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "kit.h"
#include "kv_epoch.h"
#include "kv_feed.h"

enum { REPAIR_READ_TIMEOUT_MS = 10000 };
static const int64_t TOMBSTONE_KEEP_US = 600 * ECO_US_PER_S;

typedef struct wanted_entry {
  const char *key;
  int64_t version;
  ProtobufCBinaryData value;  // packed: the source's message need not outlive its eco_kv_add
  bool deleted;
  bool present;  // the bucket has this version or a newer one
} wanted_entry;

struct eco_kv_sink {
  eco_arena *arena;
  wanted_entry *entries;
  size_t count, cap;
};

void eco_kv_add(eco_kv_sink *sink, const char *key, int64_t version, const ProtobufCMessage *value) {
  if (sink->count == sink->cap) {
    size_t cap = sink->cap == 0 ? 64 : sink->cap * 2;
    wanted_entry *grown = eco_alloc_array(sink->arena, cap, sizeof *grown);
    if (sink->count > 0) {
      memcpy(grown, sink->entries, sink->count * sizeof *grown);
    }
    sink->entries = grown;
    sink->cap = cap;
  }
  wanted_entry *w = &sink->entries[sink->count++];
  *w = (wanted_entry){.key = eco_strdup(sink->arena, key), .version = version, .deleted = value == NULL};
  if (value != NULL) {
    w->value.len = protobuf_c_message_get_packed_size(value);
    w->value.data = eco_alloc(sink->arena, w->value.len + 1);
    protobuf_c_message_pack(value, w->value.data);
  }
}

static int by_key(const void *a, const void *b) {
  return strcmp(((const wanted_entry *)a)->key, ((const wanted_entry *)b)->key);
}

static wanted_entry *find(const eco_kv_sink *sink, const char *key) {
  wanted_entry probe = {.key = key};
  return sink->count == 0 ? NULL : bsearch(&probe, sink->entries, sink->count, sizeof probe, by_key);
}

// What one bucket entry asks for.
typedef struct stray {
  const char *key;
  int64_t version;
  bool purge;  // a tombstone that everybody has seen
} stray;

typedef struct bucket_view {
  stray *strays;
  size_t count, cap;
  bool generation;     // the bucket has been whole once
  bool ahead;          // it has seen what the table has not: the table was restored
  kv_mark mark;        // of the table
  int64_t seen_epoch;  // the highest in the bucket
} bucket_view;

static void view_add(eco_arena *arena, bucket_view *v, stray s) {
  if (v->count == v->cap) {
    size_t cap = v->cap == 0 ? 16 : v->cap * 2;
    stray *grown = eco_alloc_array(arena, cap, sizeof *grown);
    if (v->count > 0) {
      memcpy(grown, v->strays, v->count * sizeof *grown);
    }
    v->strays = grown;
    v->cap = cap;
  }
  v->strays[v->count++] = s;
}

static void judge_entry(eco_arena *arena, const kv_feed *feed, natsMsg *m, eco_kv_sink *sink, bucket_view *view) {
  const char *key = kv_feed_key(feed, m);
  if (kv_feed_is_delete(m)) {
    return;
  }
  if (strcmp(key, KIT_GENERATION_KEY) == 0) {
    view->generation = true;
    return;
  }
  Ecolink__V1__KvEntry *entry = ecolink__v1__kv_entry__unpack(eco_arena_pb(arena), (size_t)natsMsg_GetDataLength(m),
                                                              (const uint8_t *)natsMsg_GetData(m));
  wanted_entry *w = find(sink, key);
  if (entry != NULL && kv_epoch_of(entry->version) > view->seen_epoch) {
    view->seen_epoch = kv_epoch_of(entry->version);
  }
  bool later = entry != NULL && entry->outbox_seq > view->mark.outbox_seq;
  view->ahead = view->ahead || later;
  if (w != NULL) {
    int64_t version = kv_version(view->mark.epoch, w->version);
    w->present = entry != NULL && entry->version >= version && !entry->deleted;
    // The table was read first, and nobody else publishes: it cannot have been overtaken in between.
    view->ahead = view->ahead || (entry != NULL && entry->version > version);
    return;
  }
  bool tombstone = entry != NULL && entry->deleted;
  bool old = eco_wall_us() - kv_feed_stored_us(m) > TOMBSTONE_KEEP_US;
  if (!tombstone || old || later) {
    view_add(
        arena, view,
        (stray){
            .key = eco_strdup(arena, key), .version = entry != NULL ? entry->version : 0, .purge = tombstone && old});
  }
}

static eco_status read_bucket(eco_service *svc, eco_arena *arena, const char *bucket, eco_kv_sink *sink,
                              bucket_view *view) {
  kv_feed feed;
  natsStatus s = kv_feed_open(svc, bucket, &feed);
  bool done = feed.empty;
  while (s == NATS_OK && !done) {
    natsMsg *m = NULL;
    s = natsSubscription_NextMsg(&m, feed.sub, REPAIR_READ_TIMEOUT_MS);
    if (s == NATS_OK) {
      judge_entry(arena, &feed, m, sink, view);
      done = kv_feed_is_last(m);
      natsMsg_Destroy(m);
    }
  }
  kv_feed_close(&feed);
  return s == NATS_OK ? eco_success() : kit_nats_error(s, "read bucket");
}

// value: packed; NULL puts a deletion.
static eco_status put_entry(eco_service *svc, eco_arena *arena, const char *bucket, const char *key, int64_t version,
                            int64_t outbox_seq, const ProtobufCBinaryData *value) {
  Ecolink__V1__KvEntry entry = ECOLINK__V1__KV_ENTRY__INIT;
  entry.version = version;
  entry.outbox_seq = outbox_seq;
  entry.deleted = value == NULL;
  if (value != NULL) {
    entry.value = *value;
  }
  size_t n = ecolink__v1__kv_entry__get_packed_size(&entry);
  uint8_t *packed = eco_alloc(arena, n + 1);
  ecolink__v1__kv_entry__pack(&entry, packed);
  return kit_kv_put_raw(svc, bucket, key, packed, n);
}

// What the bucket shows is from a later life of the database, which is lost.
static eco_status begin_new_epoch(eco_service *svc, const char *bucket, int64_t lease_epoch, eco_kv_sink *sink,
                                  bucket_view *view) {
  int64_t epoch = (view->seen_epoch > view->mark.epoch ? view->seen_epoch : view->mark.epoch) + 1;
  ECO_TRY(kv_epoch_raise(svc, lease_epoch, epoch));
  eco_log(ECO_LOG_WARN, "bucket is ahead of the database, which was restored: everything is put anew",
          ECO_F_STR("bucket", bucket), ECO_F_I64("epoch", epoch));
  view->mark.epoch = epoch;
  for (size_t i = 0; i < sink->count; i++) {
    sink->entries[i].present = false;
  }
  return eco_success();
}

static eco_status apply_repairs(eco_service *svc, eco_arena *arena, kvStore *kv, const char *bucket, eco_kv_sink *sink,
                                const bucket_view *view, bool bump) {
  size_t put = 0;
  for (size_t i = 0; i < sink->count; i++) {
    if (!sink->entries[i].present) {
      const wanted_entry *w = &sink->entries[i];
      ECO_TRY(put_entry(svc, arena, bucket, w->key, kv_version(view->mark.epoch, w->version), view->mark.outbox_seq,
                        w->deleted ? NULL : &w->value));
      ECO_CRASH_POINT("kit.kv_repair.put");
      put++;
    }
  }
  for (size_t i = 0; i < view->count; i++) {
    const stray *s = &view->strays[i];
    if (s->purge) {
      natsStatus ns = kvStore_Purge(kv, s->key, NULL);
      if (ns != NATS_OK) {
        return kit_nats_error(ns, "remove an old tombstone");
      }
    } else {
      ECO_TRY(put_entry(svc, arena, bucket, s->key, s->version + 1, view->mark.outbox_seq, NULL));
      ECO_CRASH_POINT("kit.kv_repair.marked");
    }
  }
  if (put > 0 || view->count > 0) {
    eco_log(ECO_LOG_INFO, "bucket repaired", ECO_F_STR("bucket", bucket), ECO_F_I64("put", put),
            ECO_F_I64("removed", view->count));
  }
  if (bump || put > 0 || !view->generation) {
    ECO_CRASH_POINT("kit.kv_repair.before_generation");
    ECO_TRY(put_entry(svc, arena, bucket, KIT_GENERATION_KEY, eco_wall_us(), 0, NULL));
    ECO_CRASH_POINT("kit.kv_repair.generation_bumped");
  }
  return eco_success();
}

static eco_status wanted_entries(eco_service *svc, eco_arena *arena, const eco_kv_def *def, eco_kv_sink *sink,
                                 kv_mark *mark) {
  eco_ctx ctx;
  kit_ctx_init(&ctx, svc, arena);
  ECO_TRY(eco_tx_begin(svc->db, &ctx.tx));
  eco_status st = kv_epoch_read(ctx.tx, mark);
  if (eco_ok(st)) {
    st = def->source(&ctx, sink);
  }
  eco_tx_rollback(ctx.tx);
  if (sink->count > 0) {
    qsort(sink->entries, sink->count, sizeof *sink->entries, by_key);
  }
  return st;
}

static eco_status repair_bucket(eco_service *svc, eco_arena *arena, const eco_kv_def *def, bool bump,
                                int64_t lease_epoch, int64_t *epoch) {
  eco_kv_sink sink = {.arena = arena};
  bucket_view view = {.generation = false};
  kvStore *kv = NULL;
  ECO_TRY(kit_kv_open(svc, def->bucket, true, &kv));
  eco_status st = wanted_entries(svc, arena, def, &sink, &view.mark);
  if (eco_ok(st)) {
    st = read_bucket(svc, arena, def->bucket, &sink, &view);
  }
  if (eco_ok(st) && (view.ahead || view.seen_epoch > view.mark.epoch)) {
    st = begin_new_epoch(svc, def->bucket, lease_epoch, &sink, &view);
  }
  if (eco_ok(st)) {
    st = apply_repairs(svc, arena, kv, def->bucket, &sink, &view, bump);
  }
  kvStore_Destroy(kv);
  *epoch = view.mark.epoch;
  return eco_context(st, "repair bucket %s", def->bucket);
}

static eco_status repair_all(eco_service *svc, bool bump, int64_t lease_epoch, int64_t *lowest, int64_t *highest) {
  *lowest = INT64_MAX;
  *highest = 0;
  for (const eco_kv_def *def = svc->def->kv; def != NULL && def->bucket != NULL; def++) {
    if (def->source == NULL) {
      continue;
    }
    eco_arena *arena = eco_arena_new();
    int64_t epoch = 0;
    eco_status st = repair_bucket(svc, arena, def, bump, lease_epoch, &epoch);
    eco_arena_free(arena);
    ECO_TRY(st);
    *lowest = epoch < *lowest ? epoch : *lowest;
    *highest = epoch > *highest ? epoch : *highest;
  }
  return eco_success();
}

eco_status kit_kv_repair(eco_service *svc, bool bump_generation, int64_t lease_epoch, int64_t *epoch_out) {
  int64_t lowest;
  ECO_TRY(repair_all(svc, bump_generation, lease_epoch, &lowest, epoch_out));
  if (lowest < *epoch_out) {  // a bucket that was looked at first does not know of the new epoch yet
    ECO_TRY(repair_all(svc, bump_generation, lease_epoch, &lowest, epoch_out));
  }
  return eco_success();
}
