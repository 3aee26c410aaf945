// The snapshot's copy-on-write writer; see snapshot.h.
#include "snapshot.h"

#include <arpa/inet.h>
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/log.h"
#include "huge.h"
#include "snapshot_shard.h"

// ---- the writer ----

typedef struct garbage {
  struct garbage *next;
  uint64_t epoch;
  void *p;
  void (*free_fn)(void *);
} garbage;

typedef struct reader {
  _Alignas(64) _Atomic uint64_t active;  // epoch, 0: holds nothing
} reader;

struct gw_store {
  _Atomic(gw_snapshot *) current;
  _Atomic uint64_t epoch;
  _Atomic bool behind;
  reader *readers;
  unsigned n_readers;
  gw_names *names;
  pthread_mutex_t lock;  // guards all below
  gw_cell *cells;
  gw_snapshot staged;        // what the next publish makes current
  bool keys_own[GW_SHARDS];  // this shard of `staged` is a private copy already
  bool routes_own[GW_SHARDS];
  bool dirty;
  uint64_t changes;
  uint64_t serials;
  garbage *retired;
  garbage *pending;  // replaced since the last publish
};

static void *alloc_or_die(size_t n) {
  void *p = aligned_alloc(64, (n + 63) / 64 * 64);
  if (!p) {
    abort();
  }
  memset(p, 0, n);
  return p;
}

gw_store *gw_store_new(unsigned readers_max) {
  gw_store *st = alloc_or_die(sizeof *st);
  pthread_mutex_init(&st->lock, NULL);
  st->readers = alloc_or_die(readers_max * sizeof *st->readers);
  st->n_readers = readers_max;
  st->names = gw_names_new(gw_lookup);
  atomic_store(&st->epoch, 1);
  atomic_store(&st->current, (gw_snapshot *)alloc_or_die(sizeof(gw_snapshot)));
  return st;
}

static void retire(gw_store *st, void *p, void (*free_fn)(void *)) {
  if (!p) {
    return;
  }
  garbage *g = alloc_or_die(sizeof *g);
  *g = (garbage){.next = st->pending, .p = p, .free_fn = free_fn};
  st->pending = g;
}

static void free_route(void *p) {
  gw_route *r = p;
  for (size_t i = 0; i < r->n_replicas; i++) {
    if (r->replicas[i].name) {
      gw_name_release(r->replicas[i].name);
    }
  }
  free(r->packed);
  gw_huge_free(r, r->size);
}

static void free_health(void *p) {
  gw_health *h = p;
  for (size_t i = 0; i < h->n; i++) {
    free(h->regions[i].unhealthy);
  }
  free(h);
}

static void free_garbage(garbage *list) {
  while (list) {
    garbage *next = list->next;
    list->free_fn(list->p);
    free(list);
    list = next;
  }
}

void gw_store_free(gw_store *st) {
  if (!st) {
    return;
  }
  free_garbage(st->retired);
  free_garbage(st->pending);
  for (size_t i = 0; i < GW_SHARDS; i++) {
    gw_keys_shard *keys = st->staged.keys[i];
    gw_routes_shard *routes = st->staged.routes[i];
    for (uint32_t k = 0; routes && k <= routes->mask; k++) {
      if (routes->slots[k].route) {
        free_route(routes->slots[k].route);
      }
    }
    gw_keys_free(keys);
    gw_routes_free(routes);
  }
  if (st->staged.health) {
    free_health(st->staged.health);
  }
  while (st->cells) {
    gw_cell *next = st->cells->next;
    assert(atomic_load(&st->cells->in_flight) == 0);  // no loop is left that could count it down
    gw_huge_free(st->cells, sizeof *next);
    st->cells = next;
  }
  gw_names_free(st->names);
  free(atomic_load(&st->current));
  free(st->readers);
  pthread_mutex_destroy(&st->lock);
  free(st);
}

// A private, roomy copy of the shard in `staged`.
static gw_keys_shard *own_keys(gw_store *st, uint8_t i) {
  gw_keys_shard *old = st->staged.keys[i];
  if (st->keys_own[i] && old && (old->count + 1) * 2 <= old->mask + 1) {
    return old;
  }
  gw_keys_shard *copy = gw_keys_copy(old, old ? old->count + 1 : 1);
  if (st->keys_own[i]) {
    gw_keys_free(old);
  } else {
    retire(st, old, gw_keys_free);
  }
  st->keys_own[i] = true;
  st->staged.keys[i] = copy;
  return copy;
}

static gw_routes_shard *own_routes(gw_store *st, uint8_t i) {
  gw_routes_shard *old = st->staged.routes[i];
  if (st->routes_own[i] && old && (old->count + 1) * 2 <= old->mask + 1) {
    return old;
  }
  gw_routes_shard *copy = gw_routes_copy(old, old ? old->count + 1 : 1);
  if (st->routes_own[i]) {
    gw_routes_free(old);
  } else {
    retire(st, old, gw_routes_free);
  }
  st->routes_own[i] = true;
  st->staged.routes[i] = copy;
  return copy;
}

static void changed(gw_store *st) {
  st->dirty = true;
  st->changes++;
}

static gw_cell *new_cell(gw_store *st, const Ecolink__V1__KeyEntry *e) {
  gw_cell *c = gw_huge_alloc(sizeof *c);
  c->next = st->cells;
  st->cells = c;
  snprintf(c->key_id, sizeof c->key_id, "%s", e->key_id);
  snprintf(c->account_id, sizeof c->account_id, "%s", e->account_id);
  snprintf(c->member_id, sizeof c->member_id, "%s", e->member_id);
  snprintf(c->operator_id, sizeof c->operator_id, "%s", e->operator_id);
  return c;
}

bool gw_store_put_key(gw_store *st, const uint8_t hash[32], const Ecolink__V1__KeyEntry *e, bool from_file) {
  if (!e->key_id[0] || strlen(e->key_id) >= GW_ID_LEN || strlen(e->account_id) >= GW_ID_LEN ||
      strlen(e->member_id) >= GW_ID_LEN || strlen(e->operator_id) >= GW_ID_LEN) {
    return false;
  }
  pthread_mutex_lock(&st->lock);
  gw_keys_shard *shard = own_keys(st, hash[0]);
  gw_key *slot = gw_keys_slot(shard, hash);
  if (!slot->cell) {
    memcpy(slot->hash, hash, 32);
    slot->cell = new_cell(st, e);
    shard->count++;
    st->staged.n_keys++;
  }
  slot->expires_at_us = e->expires_at_us;
  slot->spend_cap_micros = e->spend_cap_micros;
  slot->rate_limit = e->rate_limit_per_minute > 0 ? e->rate_limit_per_minute : 0;
  slot->role = (uint8_t)e->role;
  slot->revoked = e->revoked;
  slot->from_file = from_file;
  changed(st);
  pthread_mutex_unlock(&st->lock);
  return true;
}

// The cell is not freed: requests in flight and usage records may still point to it. It is small, and keys are few.
void gw_store_remove_key(gw_store *st, const uint8_t hash[32]) {
  pthread_mutex_lock(&st->lock);
  if (gw_snapshot_key(&st->staged, hash)) {
    gw_keys_remove(own_keys(st, hash[0]), hash);
    st->staged.n_keys--;
    changed(st);
  }
  pthread_mutex_unlock(&st->lock);
}

// The port has the same place in both families; it is there before the address is.
static void set_address(gw_route_replica *out, const gw_sockaddr *address) {
  const in_port_t port = out->addr.in.sin_port;
  out->addr = *address;
  out->addr.in.sin_port = port;
  out->resolved = true;
}

static void resolve(gw_store *st, gw_route_replica *out, const Ecolink__V1__RouteReplica *r) {
  gw_sockaddr address;
  memset(&address, 0, sizeof address);
  out->addr.in.sin_port = htons((uint16_t)r->port);
  if (inet_pton(AF_INET, r->host, &address.in.sin_addr) == 1) {
    address.in.sin_family = AF_INET;
    set_address(out, &address);
  } else if (inet_pton(AF_INET6, r->host, &address.in6.sin6_addr) == 1) {
    address.in6.sin6_family = AF_INET6;
    set_address(out, &address);
  } else {
    out->name = gw_name_take(st->names, r->host);
    if (gw_name_address(out->name, true, &address)) {
      set_address(out, &address);
    }
  }
}

static bool route_sane(const Ecolink__V1__RouteEntry *e) {
  if (e->instance_id <= 0 || e->n_replicas > GW_REPLICAS_MAX || strlen(e->account_id) >= GW_ID_LEN ||
      strlen(e->served_name) >= GW_NAME_LEN || strlen(e->custom_api_path) >= GW_PATH_LEN) {
    return false;
  }
  for (size_t i = 0; i < e->n_replicas; i++) {
    const Ecolink__V1__RouteReplica *r = e->replicas[i];
    if (r->port <= 0 || r->port > 65535 || strlen(r->host) + 8 >= GW_HOST_LEN || strlen(r->region) >= GW_REGION_LEN ||
        strpbrk(r->host, " \r\n/@") || strpbrk(r->token, " \r\n") || strlen(r->token) > 1024 ||
        strpbrk(r->region, "\r\n")) {
      return false;
    }
  }
  return !strpbrk(e->custom_api_path, " \r\n?#");
}

// FNV-1a: only compared with the run before.
static uint64_t run_tag(const char *run_id) {
  uint64_t h = UINT64_C(1469598103934665603);
  for (; *run_id; run_id++) {
    h = (h ^ (uint8_t)*run_id) * UINT64_C(1099511628211);
  }
  return h;
}

static gw_route *new_route(gw_store *st, const Ecolink__V1__RouteEntry *e, const uint8_t *packed, size_t len,
                           bool from_file) {
  size_t tokens = 0;
  for (size_t i = 0; i < e->n_replicas; i++) {
    tokens += strlen(e->replicas[i]->token) + 1;
  }
  size_t fixed = sizeof(gw_route) + e->n_replicas * sizeof(gw_route_replica);
  gw_route *r = gw_huge_alloc(fixed + tokens);
  r->size = fixed + tokens;
  r->instance_id = e->instance_id;
  r->created_at_us = e->created_at_us;
  r->status = (int32_t)e->status;
  r->retry_after_s = e->retry_after_s;
  r->openai_compatible = e->openai_compatible;
  r->from_file = from_file;
  r->n_replicas = (uint8_t)e->n_replicas;
  snprintf(r->account_id, sizeof r->account_id, "%s", e->account_id);
  snprintf(r->served_name, sizeof r->served_name, "%s", e->served_name);
  snprintf(r->custom_api_path, sizeof r->custom_api_path, "%s", e->custom_api_path);
  snprintf(r->status_detail, sizeof r->status_detail, "%s", e->status_detail);
  r->packed = alloc_or_die(len + 1);
  memcpy(r->packed, packed, len);
  r->packed_len = len;
  char *token = (char *)r + fixed;
  for (size_t i = 0; i < e->n_replicas; i++) {
    const Ecolink__V1__RouteReplica *from = e->replicas[i];
    gw_route_replica *to = &r->replicas[i];
    to->id = from->replica_id;
    to->run = run_tag(from->run_id);
    resolve(st, to, from);
    snprintf(to->region, sizeof to->region, "%s", from->region);
    snprintf(to->host, sizeof to->host, strchr(from->host, ':') ? "[%s]:%d" : "%s:%d", from->host, from->port);
    size_t n = strlen(from->token) + 1;
    memcpy(token, from->token, n);
    to->token = token;
    token += n;
  }
  return r;
}

bool gw_store_put_route(gw_store *st, const uint8_t *packed, size_t len, bool from_file) {
  Ecolink__V1__RouteEntry *e = ecolink__v1__route_entry__unpack(NULL, len, packed);
  if (!e || !route_sane(e)) {
    ecolink__v1__route_entry__free_unpacked(e, NULL);
    return false;
  }
  gw_route *route = new_route(st, e, packed, len, from_file);
  ecolink__v1__route_entry__free_unpacked(e, NULL);
  pthread_mutex_lock(&st->lock);
  route->serial = ++st->serials;
  gw_routes_shard *shard = own_routes(st, gw_route_shard(route->instance_id));
  gw_route_slot *slot = gw_routes_slot(shard, route->instance_id);
  if (slot->route) {
    retire(st, slot->route, free_route);
  } else {
    slot->instance_id = route->instance_id;
    shard->count++;
    st->staged.n_routes++;
  }
  slot->route = route;
  changed(st);
  pthread_mutex_unlock(&st->lock);
  return true;
}

// ---- names whose address has changed ----

static bool address_changed(const gw_route_replica *r, gw_sockaddr *now) {
  if (!r->name || !gw_name_address(r->name, false, now)) {
    return false;
  }
  return !r->resolved || !gw_sockaddr_same(now, &r->addr);
}

static bool any_address_changed(const gw_route *route) {
  gw_sockaddr now;
  bool any = false;
  for (size_t i = 0; i < route->n_replicas && !any; i++) {
    any = address_changed(&route->replicas[i], &now);
  }
  return any;
}

static gw_route *readdressed(const gw_route *old) {
  gw_route *r = gw_huge_alloc(old->size);
  memcpy(r, old, old->size);
  r->packed = alloc_or_die(old->packed_len + 1);
  memcpy(r->packed, old->packed, old->packed_len);
  for (size_t i = 0; i < old->n_replicas; i++) {
    gw_route_replica *to = &r->replicas[i];
    gw_sockaddr now;
    to->token = (const char *)r + (old->replicas[i].token - (const char *)old);
    if (address_changed(&old->replicas[i], &now)) {
      set_address(to, &now);
    }
    if (to->name) {
      gw_name_hold(to->name);
    }
  }
  return r;
}

static void readdress_shard(gw_store *st, uint8_t i) {
  gw_routes_shard *own = own_routes(st, i);
  for (uint32_t k = 0; k <= own->mask; k++) {
    gw_route *old = own->slots[k].route;
    if (old && any_address_changed(old)) {
      own->slots[k].route = readdressed(old);
      own->slots[k].route->serial = ++st->serials;
      retire(st, old, free_route);
      changed(st);
    }
  }
}

static bool any_in_shard(const gw_routes_shard *shard) {
  bool any = false;
  for (uint32_t k = 0; shard && k <= shard->mask && !any; k++) {
    any = shard->slots[k].route && any_address_changed(shard->slots[k].route);
  }
  return any;
}

static void names_changed(void *arg) {
  gw_store *st = arg;
  pthread_mutex_lock(&st->lock);
  for (size_t i = 0; i < GW_SHARDS; i++) {
    if (any_in_shard(st->staged.routes[i])) {
      readdress_shard(st, (uint8_t)i);
    }
  }
  pthread_mutex_unlock(&st->lock);
  gw_store_publish(st);
}

void gw_store_start(gw_store *st) {
  gw_names_start(st->names, names_changed, st);
}

void gw_store_stop(gw_store *st) {
  gw_names_stop(st->names);
}

static void remove_route_locked(gw_store *st, int64_t instance_id) {
  const gw_route *route = gw_snapshot_route(&st->staged, instance_id);
  if (route) {
    retire(st, (void *)route, free_route);
    gw_routes_remove(own_routes(st, gw_route_shard(instance_id)), instance_id);
    st->staged.n_routes--;
    changed(st);
  }
}

void gw_store_remove_route(gw_store *st, int64_t instance_id) {
  pthread_mutex_lock(&st->lock);
  remove_route_locked(st, instance_id);
  pthread_mutex_unlock(&st->lock);
}

void gw_store_set_behind(gw_store *st, bool behind) {
  atomic_store_explicit(&st->behind, behind, memory_order_relaxed);
}

bool gw_store_is_behind(const gw_store *st) {
  return atomic_load_explicit(&st->behind, memory_order_relaxed);
}

void gw_store_drop_file_keys(gw_store *st) {
  pthread_mutex_lock(&st->lock);
  for (size_t i = 0; i < GW_SHARDS; i++) {
    for (uint32_t k = 0; st->staged.keys[i] && k <= st->staged.keys[i]->mask;) {
      const gw_key *key = &st->staged.keys[i]->slots[k];
      if (key->cell && key->from_file) {
        uint8_t hash[32];
        memcpy(hash, key->hash, sizeof hash);
        gw_keys_remove(own_keys(st, (uint8_t)i), hash);
        st->staged.n_keys--;
        changed(st);
        k = 0;  // removal moves others
      } else {
        k++;
      }
    }
  }
  pthread_mutex_unlock(&st->lock);
}

void gw_store_drop_file_routes(gw_store *st) {
  pthread_mutex_lock(&st->lock);
  for (size_t i = 0; i < GW_SHARDS; i++) {
    for (uint32_t k = 0; st->staged.routes[i] && k <= st->staged.routes[i]->mask;) {
      const gw_route *route = st->staged.routes[i]->slots[k].route;
      if (route && route->from_file) {
        remove_route_locked(st, route->instance_id);
        k = 0;
      } else {
        k++;
      }
    }
  }
  pthread_mutex_unlock(&st->lock);
}

// Copies the other regions' verdicts and puts this one's (or leaves it out when h is NULL).
static void replace_health(gw_store *st, const char *region, const Ecolink__V1__RegionHealth *h, int64_t now_ms) {
  pthread_mutex_lock(&st->lock);
  const gw_health *old = st->staged.health;
  size_t n = old ? old->n : 0;
  gw_health *next = alloc_or_die(sizeof *next + (n + 1) * sizeof next->regions[0]);
  for (size_t i = 0; i < n; i++) {
    const gw_region_health *from = &old->regions[i];
    if (strcmp(from->region, region) != 0) {
      gw_region_health *to = &next->regions[next->n++];
      *to = *from;
      to->unhealthy = alloc_or_die((from->n + 1) * sizeof(gw_verdict));
      memcpy(to->unhealthy, from->unhealthy, from->n * sizeof(gw_verdict));
    }
  }
  if (h) {
    gw_region_health *to = &next->regions[next->n++];
    snprintf(to->region, sizeof to->region, "%s", region);
    to->expires_ms = now_ms + 3 * (int64_t)(h->interval_ms > 0 ? h->interval_ms : 1000);
    to->unhealthy = alloc_or_die((h->n_unhealthy + 1) * sizeof(gw_verdict));
    for (size_t i = 0; i < h->n_unhealthy; i++) {
      if (h->unhealthy[i]->state == ECOLINK__V1__HEALTH_STATE__HEALTH_STATE_UNHEALTHY) {
        to->unhealthy[to->n++] = (gw_verdict){h->unhealthy[i]->instance_id, h->unhealthy[i]->replica_id};
      }
    }
  }
  retire(st, st->staged.health, free_health);
  st->staged.health = next;
  st->dirty = true;
  pthread_mutex_unlock(&st->lock);
}

void gw_store_put_health(gw_store *st, const Ecolink__V1__RegionHealth *h, int64_t now_ms) {
  if (strlen(h->region) < GW_REGION_LEN) {
    replace_health(st, h->region, h, now_ms);
  }
}

void gw_store_remove_health(gw_store *st, const char *region) {
  replace_health(st, region, NULL, 0);
}

// The oldest epoch in which a reader is active; UINT64_MAX when none is.
static uint64_t oldest_reader(gw_store *st) {
  uint64_t oldest = UINT64_MAX;
  for (unsigned i = 0; i < st->n_readers; i++) {
    uint64_t active = atomic_load(&st->readers[i].active);
    if (active && active < oldest) {
      oldest = active;
    }
  }
  return oldest;
}

static void collect_garbage(gw_store *st) {
  uint64_t oldest = oldest_reader(st);
  garbage **at = &st->retired;
  while (*at) {
    garbage *g = *at;
    if (g->epoch < oldest) {
      *at = g->next;
      g->free_fn(g->p);
      free(g);
    } else {
      at = &g->next;
    }
  }
}

bool gw_store_publish(gw_store *st) {
  pthread_mutex_lock(&st->lock);
  bool dirty = st->dirty;
  if (dirty) {
    gw_snapshot *next = alloc_or_die(sizeof *next);
    *next = st->staged;
    gw_snapshot *old = atomic_exchange(&st->current, next);
    retire(st, old, free);
    // Readers that begin from now on load `next`: whatever was replaced belongs to epochs up to the present one.
    uint64_t epoch = atomic_fetch_add(&st->epoch, 1);
    while (st->pending) {
      garbage *g = st->pending;
      st->pending = g->next;
      g->epoch = epoch;
      g->next = st->retired;
      st->retired = g;
    }
    memset(st->keys_own, 0, sizeof st->keys_own);
    memset(st->routes_own, 0, sizeof st->routes_own);
    st->dirty = false;
  }
  collect_garbage(st);
  pthread_mutex_unlock(&st->lock);
  return dirty;
}

uint64_t gw_store_changes(gw_store *st) {
  pthread_mutex_lock(&st->lock);
  uint64_t changes = st->changes;
  pthread_mutex_unlock(&st->lock);
  return changes;
}

const gw_snapshot *gw_reader_begin(gw_store *st, unsigned index) {
  atomic_store(&st->readers[index].active, atomic_load(&st->epoch));
  return atomic_load(&st->current);
}

void gw_reader_end(gw_store *st, unsigned index) {
  atomic_store_explicit(&st->readers[index].active, 0, memory_order_release);
}
