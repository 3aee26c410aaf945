// A Kubernetes region's configuration on its way into the database: from operators (rpc_regions.c) and the seed
// (seed.c).
#ifndef SCHEDULER_REGION_PACK_H
#define SCHEDULER_REGION_PACK_H

#include "ecolink/v1/scheduler.pb-c.h"
#include "store.h"

// Checks `given` (NULL: INVALID_REQUEST) and puts it, packed, into the row; in the arena.
ECO_CHECKED eco_status region_pack(eco_arena *arena, const char *name, const Ecolink__V1__KubernetesRegion *given,
                                   region_row *row);

#endif
