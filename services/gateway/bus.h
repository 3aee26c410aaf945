// Between the loops and NATS: buckets in, snapshots out; usage and failure reports to the bus; the snapshot file.
//
// Bucket callbacks (kit threads) change the store and publish at once. One thread of our own does what may block:
// sending usage (meter.h), sending reports, saving the snapshot.
#ifndef GATEWAY_BUS_H
#define GATEWAY_BUS_H

#include "loop.h"

typedef struct gw_bus gw_bus;

// `loops` are borrowed until gw_bus_stop. reader_index: the bus thread's own place among the store's readers. *known
// becomes true once keys and routes have been read whole; it outlives the bus.
eco_status gw_bus_start(eco_service *svc, gw_store *store, gw_loop **loops, size_t n_loops, unsigned reader_index,
                        _Atomic bool *known, gw_bus **out);
// Closes the readers, sends what is left as far as possible, saves the snapshot. The loops have ended.
void gw_bus_stop(gw_bus *bus);

#endif
