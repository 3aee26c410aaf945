// One reconciler thread per region, each active while this process holds the lease "region:<name>".
#ifndef SCHEDULER_REGIONS_H
#define SCHEDULER_REGIONS_H

#include "ecolink/service.h"

// Timer: starts a thread for each region that has none.
ECO_CHECKED eco_status regions_refresh(eco_ctx *ctx);
// Lets every thread pass at once instead of at its next turn: something was decided.
void regions_wake(void);
// The same for one region: something was seen there.
void regions_wake_one(const char *name);
// Ends and joins the threads.
void regions_stop(void);

#endif
