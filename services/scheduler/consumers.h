// What the scheduler hears from others: holds (billing) and verdicts (health).
#ifndef SCHEDULER_CONSUMERS_H
#define SCHEDULER_CONSUMERS_H

#include "ecolink/service.h"

eco_status on_hold(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state);
eco_status on_replica_health(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state);

#endif
