// Metering behind the loops: a thread that takes the records out of their rings every 200 ms, sums them and appends
// them to the spool, and does nothing else. Whatever the bus does, no ring fills up and no record waits in memory for
// it; the bus thread sends from the spool at its own pace.
#ifndef GATEWAY_METER_H
#define GATEWAY_METER_H

#include "loop.h"

typedef struct gw_meter gw_meter;

// `loops` are borrowed until gw_meter_free.
eco_status gw_meter_start(eco_service *svc, gw_loop **loops, size_t n_loops, gw_meter **out);
// Takes what is left in the rings and ends the thread. The loops have ended. The spool stays open for sending.
void gw_meter_stop(gw_meter *meter);
void gw_meter_free(gw_meter *meter);

// Bus thread: publishes what the spool holds, as long as the bus takes it.
void gw_meter_send(gw_meter *meter);
// Any thread: the gauges of what is pending and what was dropped.
void gw_meter_tell(gw_meter *meter);

#endif
