// planner_bench: what a placement costs at 10,000 nodes and 100,000 replicas, as one line of JSON. Pure functions, no
// I/O.
//
//   place_us   one placement_decide over the rooms of all regions (128 regions x 16 GPU types): once a launch
//   count_us   counting all GPUs of a region anew from its nodes and the pods of others: once a METER_INTERVAL
//   together   what one launch pays when its region has just been counted anew
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kube_rooms.h"
#include "placement.h"

enum { NODES = 10000, PODS = 100000, REGIONS = 128, TYPES = 16, ROUNDS = 2000, COUNTS = 50 };

static char names[REGIONS][24];
static char types[TYPES][24];
static placement_room rooms[REGIONS * TYPES];

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void fill_rooms(void) {
  for (int r = 0; r < REGIONS; r++) {
    (void)snprintf(names[r], sizeof(names[r]), "region-%d", r);
  }
  for (int t = 0; t < TYPES; t++) {
    (void)snprintf(types[t], sizeof(types[t]), "type-%d", t);
  }
  for (int i = 0; i < REGIONS * TYPES; i++) {
    rooms[i] = (placement_room){.region = names[i / TYPES],
                                .gpu_type = types[i % TYPES],
                                .usable = true,
                                .free = 1 + i * 7 % 5,
                                .hourly_rate_micros = 1000000 + i % TYPES};
  }
}

// The hardest case: the caller names no type, so that every type of every region is compared.
static double place(void) {
  placement_request ask = {.pinned_region = "", .gpu_type = "", .gpu_count = 5};
  placement p;
  int placed = 0;
  double began = now_us();
  for (int i = 0; i < ROUNDS; i++) {
    ask.gpu_count = 1 + i % 5;
    eco_status st = placement_decide(&ask, rooms, REGIONS * TYPES, &p);
    placed += st.code == ECO_OK ? 1 : 0;
  }
  double each = (now_us() - began) / ROUNDS;
  if (placed == 0) {
    (void)fputs("planner_bench: nothing could be placed\n", stderr);
    exit(1);
  }
  return each;
}

static double count(void) {
  kube_table nodes = {0};
  kube_table pods = {0};
  const char *values[TYPES];
  int totals[TYPES];
  char key[64];
  if (!kube_table_open(&nodes) || !kube_table_open(&pods)) {
    exit(1);
  }
  for (int i = 0; i < NODES; i++) {
    (void)snprintf(key, sizeof(key), "node-%d", i);
    kube_node_digest *n = &kube_table_put(&nodes, key)->is.node;
    n->gpus = 16;
    (void)snprintf(n->gpu_value, sizeof(n->gpu_value), "type-%d", i % TYPES);
  }
  for (int i = 0; i < PODS; i++) {
    (void)snprintf(key, sizeof(key), "space/pod-%d", i);
    kube_other_pod *p = &kube_table_put(&pods, key)->is.other;
    p->gpus = 1;
    (void)snprintf(p->node, sizeof(p->node), "node-%d", i % NODES);
  }
  for (int t = 0; t < TYPES; t++) {
    values[t] = types[t];
  }
  double began = now_us();
  for (int i = 0; i < COUNTS; i++) {
    kube_rooms(&nodes, &pods, values, TYPES, totals);
  }
  double each = (now_us() - began) / COUNTS;
  if (totals[0] != NODES / TYPES * 6) {
    (void)fprintf(stderr, "planner_bench: %d GPUs counted, %d are there\n", totals[0], NODES / TYPES * 6);
    exit(1);
  }
  kube_table_free(&nodes);
  kube_table_free(&pods);
  return each;
}

int main(void) {
  fill_rooms();
  double place_us = place();
  double count_us = count();
  printf("{\"nodes\": %d, \"replicas\": %d, \"rooms\": %d, \"place_us\": %.1f, \"count_us\": %.1f}\n", NODES, PODS,
         REGIONS * TYPES, place_us, count_us);
  return 0;
}
