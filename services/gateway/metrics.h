// The gateway's Prometheus metrics. Registered once; updates are relaxed atomics, any thread.
#ifndef GATEWAY_METRICS_H
#define GATEWAY_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "replica.h"

void gw_metrics_init(void);
void gw_metrics_answer(int status, double seconds);
void gw_metrics_error(const char *code);
void gw_metrics_first_byte(double seconds);
void gw_metrics_first_content(double seconds);
void gw_metrics_tokens(int64_t prompt, int64_t completion);
void gw_metrics_upstream_failure(gw_failure kind);
void gw_metrics_ejection(void);
void gw_metrics_retry(void);
void gw_metrics_clients(int64_t delta);
void gw_metrics_in_flight(int64_t delta);
void gw_metrics_streams(int64_t delta);
// Gauges that the bus thread sets once a second.
void gw_metrics_snapshot(size_t keys, size_t routes, int64_t age_ms);
void gw_metrics_spool(int64_t bytes, int64_t dropped);

#endif
