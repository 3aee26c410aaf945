// A bucket kept in step with its owner: a feed of its content, plus a full re-read at reconnect, on any error, when a
// feed falls silent (its bucket was lost and made again) and every 30 s. Versions never go back; a key is removed for
// being absent only when the bucket's _generation is there: an empty or lost bucket means "unknown", keep what you
// have.
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/log.h"
#include "kit.h"
#include "kv_feed.h"
#include "kv_silence.h"

enum {
  READER_REREAD_MS = 30000,
  READER_SLICE_MS = 250,
  READER_RETRY_MS = 300,
  READER_INIT_TIMEOUT_MS = 10000,
  READER_KEY_MAX = 200
};

typedef struct known_key {
  char *key;  // NULL: free
  int64_t version;
  uint32_t seen_in;  // the full read that saw it last
  bool gone;         // its end has been told: its version bars older values
} known_key;

struct eco_kv_reader {
  eco_service *svc;
  const char *bucket;
  eco_kv_reader_fns fns;
  void *arg;
  pthread_t thread;
  atomic_bool closing;
  uint32_t round;
  bool generation_seen;  // in this read, or since
  atomic_bool whole;     // never taken back: what is known stays known when a bucket is lost
  uint64_t told;         // how often anything was told
  bool was_silent;       // the last feed, after its read
  int64_t silence_wait_ms;
  known_key *table;  // open addressing, power of two
  size_t cap, used;
};

static uint64_t hash_key(const char *s) {
  uint64_t h = 1469598103934665603ULL;  // FNV-1a
  for (; *s != '\0'; s++) {
    h = (h ^ (uint8_t)*s) * 1099511628211ULL;
  }
  return h;
}

static known_key *slot_for(known_key *table, size_t cap, const char *key) {
  size_t i = hash_key(key) & (cap - 1);
  while (table[i].key != NULL && strcmp(table[i].key, key) != 0) {
    i = (i + 1) & (cap - 1);
  }
  return &table[i];
}

static bool grow(eco_kv_reader *r) {
  size_t cap = r->cap == 0 ? 256 : r->cap * 2;
  known_key *table = calloc(cap, sizeof *table);
  if (table == NULL) {
    return false;
  }
  for (size_t i = 0; i < r->cap; i++) {
    if (r->table[i].key != NULL) {
      *slot_for(table, cap, r->table[i].key) = r->table[i];
    }
  }
  free(r->table);
  r->table = table;
  r->cap = cap;
  return true;
}

// The key's record, made when it is new; NULL when memory is out.
static known_key *know(eco_kv_reader *r, const char *key) {
  if ((r->used + 1) * 4 > r->cap * 3 && !grow(r)) {
    return NULL;
  }
  known_key *k = slot_for(r->table, r->cap, key);
  if (k->key == NULL) {
    k->key = strdup(key);
    if (k->key == NULL) {
      return NULL;
    }
    k->version = INT64_MIN;
    r->used++;
  }
  return k;
}

// Of a key that is known by its end alone, too: who began with what a file remembers has it still.
static void tell_gone(eco_kv_reader *r, known_key *k) {
  if (!k->gone) {
    k->gone = true;
    r->told++;
    r->fns.gone(r->arg, k->key);
  }
}

static void take_value(eco_kv_reader *r, known_key *k, const uint8_t *value, size_t len) {
  eco_arena *arena = eco_arena_new();
  Ecolink__V1__KvEntry *entry = ecolink__v1__kv_entry__unpack(eco_arena_pb(arena), len, value);
  if (entry == NULL) {
    eco_log(ECO_LOG_ERROR, "bucket entry cannot be read: keeping what is known", ECO_F_STR("bucket", r->bucket),
            ECO_F_STR("key", k->key));
  } else if (entry->version > k->version || (entry->version == k->version && k->gone && !entry->deleted)) {
    k->version = entry->version;
    if (entry->deleted) {
      tell_gone(r, k);
    } else {
      k->gone = false;
      r->told++;
      r->fns.put(r->arg, k->key, entry->version, entry->value.data, entry->value.len);
    }
  }
  eco_arena_free(arena);
}

static void take_message(eco_kv_reader *r, const kv_feed *feed, natsMsg *m) {
  const char *key = kv_feed_key(feed, m);
  if (strcmp(key, KIT_GENERATION_KEY) == 0) {
    r->generation_seen = true;
    return;
  }
  known_key *k = strlen(key) < READER_KEY_MAX ? know(r, key) : NULL;
  if (k == NULL) {
    return;
  }
  k->seen_in = r->round;
  if (kv_feed_is_delete(m)) {
    tell_gone(r, k);
  } else {
    take_value(r, k, (const uint8_t *)natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m));
  }
}

static bool reader_stopping(const eco_kv_reader *r) {
  return atomic_load(&r->closing) || eco_service_stopping(r->svc);
}

// The present content. False: the read broke off and tells nothing about absence.
static bool read_all(eco_kv_reader *r, const kv_feed *feed) {
  r->round++;
  r->generation_seen = false;
  bool done = feed->empty;
  int64_t until = eco_boottime_ms() + READER_INIT_TIMEOUT_MS;
  while (!done && !reader_stopping(r) && eco_boottime_ms() < until) {
    natsMsg *m = NULL;
    natsStatus s = natsSubscription_NextMsg(&m, feed->sub, READER_SLICE_MS);
    if (s == NATS_TIMEOUT) {
      continue;
    }
    if (s != NATS_OK) {
      return false;
    }
    take_message(r, feed, m);
    done = kv_feed_is_last(m);
    natsMsg_Destroy(m);
    until = eco_boottime_ms() + READER_INIT_TIMEOUT_MS;
  }
  return done;
}

static void drop_absent(eco_kv_reader *r) {
  if (!r->generation_seen) {
    return;
  }
  for (size_t i = 0; i < r->cap; i++) {
    if (r->table[i].key != NULL && r->table[i].seen_in != r->round) {
      tell_gone(r, &r->table[i]);
    }
  }
}

// What the bus has told of breaks so far. With other numbers than before a feed may have ended unseen.
typedef struct breaks {
  unsigned reconnects;
  unsigned silences;
} breaks;

static breaks breaks_so_far(const eco_kv_reader *r) {
  return (breaks){atomic_load(&r->svc->reconnects), atomic_load(&r->svc->silences)};
}

static bool may_have_ended(const eco_kv_reader *r, const breaks *before, int64_t read_ms) {
  breaks now = breaks_so_far(r);
  return now.reconnects != before->reconnects ||
         (now.silences != before->silences && eco_boottime_ms() >= read_ms + r->silence_wait_ms);
}

// Follows updates until the next full read is due or something broke.
static void follow(eco_kv_reader *r, const kv_feed *feed, const breaks *before) {
  int64_t read_ms = eco_boottime_ms();
  while (!reader_stopping(r) && eco_boottime_ms() < read_ms + READER_REREAD_MS && !may_have_ended(r, before, read_ms)) {
    natsMsg *m = NULL;
    natsStatus s = natsSubscription_NextMsg(&m, feed->sub, READER_SLICE_MS);
    if (s == NATS_TIMEOUT) {
      continue;
    }
    if (s != NATS_OK) {
      return;
    }
    take_message(r, feed, m);
    natsMsg_Destroy(m);
    if (r->generation_seen) {
      atomic_store(&r->whole, true);  // its owner has just filled it: everything came before
    }
  }
}

// One full read and what follows it. False: not even the read worked.
static bool reader_turn(eco_kv_reader *r) {
  kv_feed feed;
  const breaks before = breaks_so_far(r);
  const uint64_t told = r->told;
  bool good = kv_feed_open(r->svc, r->bucket, &feed) == NATS_OK && read_all(r, &feed);
  if (good) {
    atomic_store(&r->whole, atomic_load(&r->whole) || r->generation_seen);
    drop_absent(r);
    r->silence_wait_ms = kv_silence_wait_ms(r->silence_wait_ms, r->was_silent, r->told != told);
    if (r->fns.synced != NULL) {
      r->fns.synced(r->arg);
    }
    follow(r, &feed, &before);
    r->was_silent = atomic_load(&r->svc->silences) != before.silences;
  }
  kv_feed_close(&feed);
  return good;
}

static void *reader_main(void *arg) {
  eco_kv_reader *r = arg;
  while (!reader_stopping(r)) {
    if (!eco_bus_connected(r->svc) || !reader_turn(r)) {
      kit_sleep(r->svc, READER_RETRY_MS);
    }
  }
  nats_ReleaseThreadMemory();
  return NULL;
}

eco_status eco_kv_reader_open(eco_service *svc, const char *bucket, const eco_kv_reader_fns *fns, void *arg,
                              eco_kv_reader **out) {
  eco_kv_reader *r = calloc(1, sizeof *r);
  if (r == NULL) {
    return eco_error(ECO_INTERNAL, "bucket reader: out of memory");
  }
  r->svc = svc;
  r->bucket = bucket;
  r->fns = *fns;
  r->arg = arg;
  *out = r;
  kit_thread_start(&r->thread, reader_main, r, "kv-reader");
  return eco_success();
}

bool eco_kv_reader_is_whole(const eco_kv_reader *r) {
  return r != NULL && atomic_load(&r->whole);
}

void eco_kv_reader_close(eco_kv_reader *r) {
  if (r == NULL) {
    return;
  }
  atomic_store(&r->closing, true);
  pthread_join(r->thread, NULL);
  for (size_t i = 0; i < r->cap; i++) {
    free(r->table[i].key);
  }
  free(r->table);
  free(r);
}
