// The table that remembers objects, and the counting of GPUs in it, against plain sums.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "kube_rooms.h"

enum { NODES = 700, PODS = 3000 };
static const char *const VALUES[] = {"NVIDIA-L40S", "NVIDIA-H100", "none-has-this"};

static uint32_t seed = 4711;
static int pick(int n) {
  seed = seed * 1664525u + 1013904223u;
  return (int)((seed >> 8) % (uint32_t)n);
}

static kube_entry *put(kube_table *t, const char *prefix, int i) {
  char name[64];
  (void)snprintf(name, sizeof(name), "%s-%d", prefix, i);
  kube_entry *e = kube_table_put(t, name);
  assert_non_null(e);
  return e;
}

static void test_what_a_list_does_not_show_is_gone(void **state) {
  (void)state;
  kube_table t = {0};
  assert_true(kube_table_open(&t));
  for (int i = 0; i < NODES; i++) {
    put(&t, "n", i);
  }
  assert_int_equal(t.count, NODES);
  t.list++;
  for (int i = 0; i < NODES; i += 2) {
    put(&t, "n", i);
  }
  assert_true(kube_table_sweep(&t));
  assert_false(kube_table_sweep(&t));
  size_t n = 0;
  for (const kube_entry *e = kube_table_next(&t, NULL); e; e = kube_table_next(&t, e)) {
    assert_int_equal(strtol(e->key + 2, NULL, 10) % 2, 0);
    n++;
  }
  assert_int_equal(n, NODES / 2);
  assert_int_equal(t.count, NODES / 2);
  kube_table_drop(&t, "n-0");
  assert_null(kube_table_find(&t, "n-0"));
  assert_non_null(kube_table_find(&t, "n-2"));
  kube_table_free(&t);
}

static void test_rooms_are_what_nodes_have_less_what_others_take(void **state) {
  (void)state;
  kube_table nodes = {0};
  kube_table pods = {0};
  int has[NODES];
  int taken[NODES] = {0};
  int expected[3] = {0};
  int totals[3];
  assert_true(kube_table_open(&nodes) && kube_table_open(&pods));
  for (int i = 0; i < NODES; i++) {
    kube_node_digest *n = &put(&nodes, "node", i)->is.node;
    has[i] = n->gpus = pick(4) ? 8 : 0;  // some take nothing: not Ready, or cordoned
    (void)snprintf(n->gpu_value, sizeof(n->gpu_value), "%s", VALUES[i % 2]);
  }
  for (int i = 0; i < PODS; i++) {
    int node = pick(NODES + 20);  // some on nodes that are not known
    kube_other_pod *p = &put(&pods, "pod", i)->is.other;
    p->gpus = 1 + pick(4);
    (void)snprintf(p->node, sizeof(p->node), "node-%d", node);
    if (node < NODES) {
      taken[node] += p->gpus;
    }
  }
  for (int i = 0; i < NODES; i++) {
    expected[i % 2] += has[i] > taken[i] ? has[i] - taken[i] : 0;  // a node that is too full lends nothing to others
  }
  for (int again = 0; again < 2; again++) {
    kube_rooms(&nodes, &pods, VALUES, 3, totals);
    assert_memory_equal(totals, expected, sizeof(totals));
  }
  kube_table_free(&nodes);
  kube_table_free(&pods);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_what_a_list_does_not_show_is_gone),
      cmocka_unit_test(test_rooms_are_what_nodes_have_less_what_others_take),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
