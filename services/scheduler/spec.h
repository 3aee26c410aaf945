// From an instance's stored launch to what a driver runs. The only place where secrets are opened.
#ifndef SCHEDULER_SPEC_H
#define SCHEDULER_SPEC_H

#include "driver.h"
#include "ecolink/service.h"
#include "instance.h"
#include "launch_rules.h"
#include "store.h"

// `out` and everything in it lives in the arena: free that soon, it holds opened secrets.
ECO_CHECKED eco_status spec_build(eco_arena *arena, const Ecolink__V1__LaunchRequest *request,
                                  const Ecolink__V1__AcquireModelResponse *model, const instance_row *inst,
                                  const replica_row *replica, bool open_secrets, replica_spec *out);
// The same from the stored bytes, secrets opened.
ECO_CHECKED eco_status spec_load(eco_tx *tx, eco_arena *arena, const instance_row *inst, const replica_row *replica,
                                 replica_spec *out);

#endif
