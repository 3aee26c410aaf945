// From rows to what others see: answers, events, routes. instance_write is the one way by which a change leaves a
// transaction.
#ifndef SCHEDULER_PUBLISH_H
#define SCHEDULER_PUBLISH_H

#include "ecolink/service.h"
#include "instance.h"

// Fills an initialised message; strings are borrowed from `inst` or live in the arena.
void view_instance(eco_arena *arena, const instance_row *inst, Ecolink__V1__Instance *out);
void view_instance_state(eco_arena *arena, const instance_row *inst, Ecolink__V1__InstanceState *out);
void view_replica_state(eco_arena *arena, int64_t instance_id, const char *account_id, const char *health_path,
                        const replica_row *r, Ecolink__V1__ReplicaState *out);
void view_route(eco_arena *arena, const instance_row *inst, int64_t now_us, Ecolink__V1__RouteEntry *out);
const char *instance_key(eco_arena *arena, int64_t id);  // decimal

// Saves the dirty replicas and the row (versions grow), and adds the events and the route to the outbox. The row is
// locked. `verb`: "running" -> scheduler.instance.running; NULL: no instance event (a launch without an answer).
ECO_CHECKED eco_status instance_write(eco_ctx *ctx, eco_tx *tx, instance_row *inst, const char *verb);
// The verb of the state an instance is in.
const char *instance_verb(const instance_row *inst);

#endif
