// Counting GPUs.
#include "kube_rooms.h"

#include <string.h>

static void add_node(const kube_node_digest *node, const char *const *values, size_t n, int *totals) {
  int left = node->gpus - node->taken;
  for (size_t i = 0; left > 0 && i < n; i++) {
    totals[i] += strcmp(node->gpu_value, values[i]) == 0 ? left : 0;
  }
}

void kube_rooms(kube_table *nodes, const kube_table *others, const char *const *values, size_t n, int *totals) {
  memset(totals, 0, n * sizeof(*totals));
  for (kube_entry *e = kube_table_next(nodes, NULL); e; e = kube_table_next(nodes, e)) {
    e->is.node.taken = 0;
  }
  for (const kube_entry *e = kube_table_next(others, NULL); e; e = kube_table_next(others, e)) {
    kube_entry *node = kube_table_find(nodes, e->is.other.node);
    if (node) {
      node->is.node.taken += e->is.other.gpus;
    }
  }
  for (const kube_entry *e = kube_table_next(nodes, NULL); e; e = kube_table_next(nodes, e)) {
    add_node(&e->is.node, values, n, totals);
  }
}
