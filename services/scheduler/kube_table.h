// What the driver remembers of one kind of object: digests by name. No locks of its own: the region's.
//
//   list:  begin (list++), put ..., sweep: what the list did not show is gone
//   watch: put, drop
#ifndef SCHEDULER_KUBE_TABLE_H
#define SCHEDULER_KUBE_TABLE_H

#include "kube_digest.h"

// A pod that is not ours, and asks for GPUs.
typedef struct kube_other_pod {
  kube_meta meta;
  char node[256];
  int gpus;
} kube_other_pod;

typedef struct kube_entry {
  char key[320];    // name; of other namespaces' pods "<namespace>/<name>"
  uint64_t listed;  // the list or event it was last seen in
  union {
    kube_meta meta;  // first member of all but the node
    kube_deployment_digest deployment;
    kube_pod_digest pod;
    kube_service_digest service;
    kube_node_digest node;
    kube_other_pod other;
  } is;
  struct kube_entry *next;
} kube_entry;

typedef struct kube_table {
  kube_entry **buckets;
  size_t bucket_count;  // grows with count
  size_t count;
  uint64_t list;  // number of the list under way, or of the last one
} kube_table;

kube_entry *kube_table_find(const kube_table *t, const char *key);
kube_entry *kube_table_put(kube_table *t, const char *key);  // found or new and zeroed; NULL: no memory
void kube_table_drop(kube_table *t, const char *key);
// After a complete list: what it did not show is gone. True when something went.
bool kube_table_sweep(kube_table *t);
void kube_table_free(kube_table *t);
bool kube_table_open(kube_table *t);
// Every entry, in no order: `e` from NULL until NULL.
kube_entry *kube_table_next(const kube_table *t, const kube_entry *e);

#endif
