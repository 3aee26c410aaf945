// Regions that an operator has declared lost. Nothing else makes a region lost: one that cannot be reached is only
// unreachable, its replicas run and are judged by traffic.
#ifndef SCHEDULER_LOST_H
#define SCHEDULER_LOST_H

#include "ecolink/service.h"

// Timer: gives up what the lost regions hold. Uptime ends where it was last proved; replicas that should run are
// started in another region that has room, and wait for one while there is none; an instance that has no replica
// elsewhere fails with capacity_lost; what was to end has ended. Safe to repeat.
ECO_CHECKED eco_status lost_regions(eco_ctx *ctx);

#endif
