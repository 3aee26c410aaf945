// Prometheus metrics, thin: counters, gauges and histograms of relaxed atomics, at most one fixed label set each.
//
// A metric is registered once (before or while running) and lives until exit; updates are lock-free, any thread.
// Text format: https://prometheus.io/docs/instrumenting/exposition_formats/ (0.0.4).
#ifndef ECOLINK_METRICS_H
#define ECOLINK_METRICS_H

#include <stdint.h>

#include "ecolink/buf.h"

typedef struct eco_metric eco_metric;

// `labels` is NULL or the inside of the braces, e.g. `method="Launch",code="ok"`. The same (name, labels) returns the
// same metric.
eco_metric *eco_counter(const char *name, const char *help, const char *labels);
eco_metric *eco_gauge(const char *name, const char *help, const char *labels);
// Bounds in the metric's unit, ascending, ends with 0; at most 20. They are copied.
eco_metric *eco_histogram(const char *name, const char *help, const char *labels, const double *bounds);
void eco_metric_add(eco_metric *m, int64_t n);     // counters and gauges
void eco_metric_set(eco_metric *m, int64_t v);     // gauges
void eco_metric_observe(eco_metric *m, double v);  // histograms
// Takes over what was counted elsewhere: counts[i] observations up to bound i, the last one above all of them, and
// their sum.
void eco_metric_set_histogram(eco_metric *m, const int64_t *counts, double sum);
int64_t eco_metric_value(const eco_metric *m);
// Called at the beginning of each eco_metrics_write, on its thread: for who counts elsewhere and sets metrics only when
// they are asked for. At most one.
void eco_metrics_before_write(void (*fn)(void *arg), void *arg);
bool eco_metrics_write(eco_buf *out);  // false: the buffer's maximum was reached

#endif
