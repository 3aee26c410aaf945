// Where an instance's replicas go: a pure function of what was asked and what is free.
//
// Product, section 3: models from Hugging Face, the catalogue or a container get 2 replicas in 2 regions (1 where the
// caller allows a single region and only one has room); a model on a shared filesystem gets 1 replica in the
// filesystem's region. Without a GPU type the cheapest one with room for all replicas is taken. Among regions the one
// with most free GPUs of the type comes first, then by name: the same input always gives the same answer.
#ifndef SCHEDULER_PLACEMENT_H
#define SCHEDULER_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ecolink/status.h"
#include "scheduler_limits.h"

typedef struct placement_room {
  const char *region;
  const char *gpu_type;
  bool usable;   // reachable, neither cordoned nor lost
  bool retired;  // the type is not offered any more
  int free;      // may be negative when an operator lowered the total
  int64_t hourly_rate_micros;
} placement_room;

typedef struct placement_request {
  const char *pinned_region;  // the shared filesystem's; "" otherwise
  const char *const *wanted;  // restrict the choice; none: all
  size_t wanted_count;
  const char *gpu_type;  // "": the cheapest with room
  int gpu_count;         // per replica, > 0
  bool allow_single_region;
} placement_request;

typedef struct placement {
  const char *gpu_type;  // borrowed from the rooms
  int64_t hourly_rate_micros;
  size_t replica_count;
  const char *regions[SCHED_REPLICAS_MAX];
} placement;

// Refusals: INVALID_REQUEST with param for a region or GPU type that does not exist or contradicts the filesystem's
// region; INSUFFICIENT_CAPACITY saying what was short.
ECO_CHECKED eco_status placement_decide(const placement_request *request, const placement_room *rooms,
                                        size_t room_count, placement *out);
// Another region for one replica: as placement_decide would choose it for the very type, but none of `taken`. NULL:
// none.
const char *placement_other_region(const placement_request *request, const placement_room *rooms, size_t room_count,
                                   const char *const *taken, size_t taken_count);

#endif
