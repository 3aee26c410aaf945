// Asks replicas whether they are Ready, through the very address that gateways use. Parallel, bounded in time and
// memory.
#ifndef SCHEDULER_READINESS_H
#define SCHEDULER_READINESS_H

#include <stdbool.h>
#include <stddef.h>

#include "scheduler_limits.h"

typedef struct ready_target {
  const char *host;
  int port;
  const char *health_path;
  const char *token;        // sent as a bearer token; "" or NULL: none
  const char *served_name;  // NULL: health alone; otherwise GET /v1/models must name it
  // out
  bool ready;
  bool unknown;                   // it could not be asked, for want of something on our side: neither Ready nor not
  bool silent;                    // not Ready, and time ran out: whoever asks waits so long for nothing
  char detail[SCHED_DETAIL_MAX];  // why not, for people
} ready_target;

// Once before threads start.
void readiness_init(void);
// Returns when every target has answered or run out of time (SCHED_READY_TIMEOUT_MS each, SCHED_READY_PARALLEL at
// once).
void readiness_probe(ready_target *targets, size_t count);
// Whether an answer of GET /v1/models names the model. Pure.
bool readiness_names_model(const char *body, size_t len, const char *served_name);

#endif
