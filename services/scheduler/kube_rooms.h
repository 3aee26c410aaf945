// How many GPUs of each type a region has for us. Pure.
#ifndef SCHEDULER_KUBE_ROOMS_H
#define SCHEDULER_KUBE_ROOMS_H

#include "kube_table.h"

enum { KUBE_GPU_TYPES_MAX = 256 };  // of one region

// For each of the n values of the GPU label: allocatable on the nodes that have it, less what pods of others ask for
// there. Takes time for each node and pod once, whatever n is.
void kube_rooms(kube_table *nodes, const kube_table *others, const char *const *values, size_t n, int *totals);

#endif
