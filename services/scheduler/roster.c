// The roster of a region's replicas.
#include "roster.h"

#include <stdlib.h>
#include <string.h>

int roster_compare(int64_t a_instance, int a_replica, int64_t b_instance, int b_replica) {
  if (a_instance != b_instance) {
    return a_instance < b_instance ? -1 : 1;
  }
  return a_replica - b_replica;
}

static int compare_entries(const void *a, const void *b) {
  const roster_entry *x = a;
  const roster_entry *y = b;
  return roster_compare(x->instance_id, x->replica_id, y->instance_id, y->replica_id);
}

roster_entry *roster_find(const roster *r, int64_t instance_id, int replica_id) {
  roster_entry key = {.instance_id = instance_id, .replica_id = replica_id};
  return r->count ? bsearch(&key, r->list, r->count, sizeof(key), compare_entries) : NULL;
}

static bool has_exactly(const roster *r, const roster_key *keys, size_t n) {
  bool same = r->count == n;
  for (size_t i = 0; same && i < n; i++) {
    same = r->list[i].instance_id == keys[i].instance_id && r->list[i].replica_id == keys[i].replica_id;
  }
  return same;
}

bool roster_follow(roster *r, const roster_key *keys, size_t n) {
  if (has_exactly(r, keys, n)) {
    return true;
  }
  roster_entry *list = calloc(n + 1, sizeof(*list));
  if (!list) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    const roster_entry *known = roster_find(r, keys[i].instance_id, keys[i].replica_id);
    list[i] = known ? *known : (roster_entry){.instance_id = keys[i].instance_id, .replica_id = keys[i].replica_id};
  }
  free(r->list);
  r->list = list;
  r->count = n;
  return true;
}

// FNV-1a
static uint64_t mix(uint64_t h, const void *data, size_t len) {
  const unsigned char *at = data;
  for (size_t i = 0; i < len; i++) {
    h = (h ^ at[i]) * UINT64_C(1099511628211);
  }
  return h;
}

static uint64_t mix_number(uint64_t h, int64_t v) {
  return mix(h, &v, sizeof(v));
}

// With its end: "a", "bc" is not "ab", "c".
static uint64_t mix_text(uint64_t h, const char *s) {
  return mix(h, s, strlen(s) + 1);
}

uint64_t roster_digest(const replica_observation *seen) {
  uint64_t h = UINT64_C(14695981039346656037);
  if (!seen) {
    return h;
  }
  h = mix_number(h, seen->generation);
  h = mix_number(h, seen->phase);
  h = mix_number(h, seen->need);
  h = mix_number(h, seen->port);
  h = mix_number(h, seen->restarts);
  h = mix_number(h, seen->ready_since_us);
  for (int i = 0; i < REPLICA_EXITS_KEPT; i++) {
    h = mix_number(h, seen->exits_us[i]);
  }
  return mix_text(mix_text(mix_text(h, seen->run_id), seen->host), seen->detail);
}

roster_turn roster_turn_of(const roster_entry *e, int64_t version, uint64_t seen, int64_t now_ms) {
  if (e->version != version || e->seen != seen || e->due_ms == 0) {
    return ROSTER_NOW;
  }
  return e->due_ms <= now_ms ? ROSTER_DUE : ROSTER_WAITS;
}

int64_t roster_next_ms(const roster *r) {
  int64_t next = INT64_MAX;
  for (size_t i = 0; i < r->count; i++) {
    next = r->list[i].due_ms < next ? r->list[i].due_ms : next;
  }
  return next;
}

void roster_free(roster *r) {
  free(r->list);
  *r = (roster){.list = NULL};
}
