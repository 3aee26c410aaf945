// A hash table that grows.
#include "kube_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS_FIRST = 256 };

static size_t bucket_of(const kube_table *t, const char *key) {
  uint64_t h = UINT64_C(1469598103934665603);
  for (; *key; key++) {
    h = (h ^ (unsigned char)*key) * UINT64_C(1099511628211);
  }
  return (size_t)(h ^ h >> 32) & (t->bucket_count - 1);
}

bool kube_table_open(kube_table *t) {
  t->buckets = calloc(BUCKETS_FIRST, sizeof(kube_entry *));
  t->bucket_count = t->buckets ? BUCKETS_FIRST : 0;
  return t->buckets != NULL;
}

// Without memory for more it stays as it is, and slow.
static void grow(kube_table *t) {
  kube_table bigger = {.bucket_count = t->bucket_count * 2};
  bigger.buckets = calloc(bigger.bucket_count, sizeof(kube_entry *));
  if (!bigger.buckets) {
    return;
  }
  for (size_t b = 0; b < t->bucket_count; b++) {
    while (t->buckets[b]) {
      kube_entry *e = t->buckets[b];
      size_t to = bucket_of(&bigger, e->key);
      t->buckets[b] = e->next;
      e->next = bigger.buckets[to];
      bigger.buckets[to] = e;
    }
  }
  free(t->buckets);
  t->buckets = bigger.buckets;
  t->bucket_count = bigger.bucket_count;
}

kube_entry *kube_table_next(const kube_table *t, const kube_entry *e) {
  if (e && e->next) {
    return e->next;
  }
  for (size_t b = e ? bucket_of(t, e->key) + 1 : 0; b < t->bucket_count; b++) {
    if (t->buckets[b]) {
      return t->buckets[b];
    }
  }
  return NULL;
}

kube_entry *kube_table_find(const kube_table *t, const char *key) {
  for (kube_entry *e = t->buckets[bucket_of(t, key)]; e; e = e->next) {
    if (strcmp(e->key, key) == 0) {
      return e;
    }
  }
  return NULL;
}

kube_entry *kube_table_put(kube_table *t, const char *key) {
  kube_entry *e = kube_table_find(t, key);
  if (!e) {
    e = calloc(1, sizeof(*e));
    if (!e) {
      return NULL;
    }
    if (t->count >= t->bucket_count) {
      grow(t);
    }
    size_t b = bucket_of(t, key);
    (void)snprintf(e->key, sizeof(e->key), "%s", key);
    e->next = t->buckets[b];
    t->buckets[b] = e;
    t->count++;
  }
  e->listed = t->list;
  return e;
}

void kube_table_drop(kube_table *t, const char *key) {
  for (kube_entry **at = &t->buckets[bucket_of(t, key)]; *at; at = &(*at)->next) {
    if (strcmp((*at)->key, key) == 0) {
      kube_entry *e = *at;
      *at = e->next;
      free(e);
      t->count--;
      return;
    }
  }
}

bool kube_table_sweep(kube_table *t) {
  bool went = false;
  for (size_t b = 0; b < t->bucket_count; b++) {
    for (kube_entry **at = &t->buckets[b]; *at;) {
      kube_entry *e = *at;
      if (e->listed == t->list) {
        at = &e->next;
        continue;
      }
      *at = e->next;
      free(e);
      t->count--;
      went = true;
    }
  }
  return went;
}

void kube_table_free(kube_table *t) {
  t->list++;
  if (t->buckets) {
    (void)kube_table_sweep(t);
  }
  free(t->buckets);
  t->buckets = NULL;
  t->bucket_count = 0;
}
