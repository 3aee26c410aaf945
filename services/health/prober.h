// The prober: one thread that looks at every Ready replica each interval, judges, records changes and tells gateways.
//
// Of several copies of the service the holder of the lease `prober` probes; the others wait. What is judged lives in
// the database, streaks live in the thread: a new prober begins with the last verdicts and fresh streaks.
#ifndef HEALTH_PROBER_H
#define HEALTH_PROBER_H

#include "ecolink/service.h"

typedef struct prober_settings {
  int64_t interval_ms;
  int64_t timeout_ms;
  int64_t unhealthy_after;
  int64_t healthy_after;
  int64_t concurrency;
} prober_settings;

typedef struct prober prober;
// `settings` is borrowed for the prober's life.
ECO_CHECKED eco_status prober_start(eco_service *svc, const prober_settings *settings, prober **out);
// Ends a pass under way, joins the thread, frees. NULL is fine.
void prober_stop(prober *p);

#endif
