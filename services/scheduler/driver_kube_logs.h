// A replica's log through the API server. A position is the moment of the last line told, in nanoseconds.
#ifndef SCHEDULER_DRIVER_KUBE_LOGS_H
#define SCHEDULER_DRIVER_KUBE_LOGS_H

#include "driver_kube_internal.h"

// As driver_ops.logs. Blocks for one request.
ECO_CHECKED eco_status kube_logs_read(kube_region *r, int64_t instance_id, int replica_id, int64_t offset,
                                      int max_lines, replica_log_fn fn, void *arg, int64_t *next_offset);
// "2026-11-22T20:23:43.123456789Z text": the moment in nanoseconds and where the text begins. False: no such line.
// Pure.
bool kube_log_line(const char *line, size_t len, int64_t *at_ns, size_t *text);

// The percentage that the last line of a download tells; -1: none does. Pure.
int kube_download_percent(const char *log, size_t len);
// Hands the scheduler the last lines of a replica that is about to be removed. What cannot be read is let go.
void kube_logs_keep(kube_region *r, int64_t instance_id, int replica_id);

#endif
