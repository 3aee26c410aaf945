// Gives a replica that does not become Ready where it is a chance in another region.
#ifndef SCHEDULER_MOVE_H
#define SCHEDULER_MOVE_H

#include "ecolink/service.h"
#include "instance.h"

// In the transaction that holds the instance's lock: moves reservation and replica to another region that the launch
// allows and that has room; `why` begins what its owner reads. Nothing happens when there is none, or when the model
// lies on a filesystem. The object left behind has no row in its region any more: that region's next pass removes it.
ECO_CHECKED eco_status move_replica(eco_ctx *ctx, eco_tx *tx, instance_row *inst, replica_row *r, const char *why);

#endif
