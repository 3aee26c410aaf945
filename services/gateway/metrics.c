// Registration and updates; see metrics.h.
#include "metrics.h"

#include <stdio.h>

#include "ecolink/metrics.h"

static const double SECONDS[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                 0.5,    1,     2.5,    5,     10,   30,    60,   0};
static eco_metric *answers[6];
static eco_metric *durations;
static eco_metric *first_byte;
static eco_metric *first_content;
static eco_metric *prompt_tokens;
static eco_metric *completion_tokens;
static eco_metric *failures[GW_FAILURES];
static eco_metric *ejections;
static eco_metric *retries;
static eco_metric *clients;
static eco_metric *in_flight;
static eco_metric *streams;
static eco_metric *snapshot_keys;
static eco_metric *snapshot_routes;
static eco_metric *snapshot_age;
static eco_metric *spool_bytes;
static eco_metric *usage_dropped;

void gw_metrics_init(void) {
  static const char *const CLASSES[] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};
  char labels[64];
  for (unsigned i = 0; i < 6; i++) {
    snprintf(labels, sizeof labels, "status=\"%s\"", CLASSES[i]);
    answers[i] = eco_counter("ecolink_gateway_requests_total", "Answers by class of status", labels);
  }
  for (unsigned i = 0; i < GW_FAILURES; i++) {
    snprintf(labels, sizeof labels, "kind=\"%s\"", gw_failure_word((gw_failure)i));
    failures[i] = eco_counter("ecolink_gateway_upstream_failures_total", "Failed attempts", labels);
  }
  durations =
      eco_histogram("ecolink_gateway_request_seconds", "From request head to the answer's last byte", NULL, SECONDS);
  first_byte =
      eco_histogram("ecolink_gateway_first_byte_seconds", "From request sent to the answer's head", NULL, SECONDS);
  first_content =
      eco_histogram("ecolink_gateway_first_content_seconds", "From request head to the first content", NULL, SECONDS);
  prompt_tokens = eco_counter("ecolink_gateway_prompt_tokens_total", "Prompt tokens by the engines' usage", NULL);
  completion_tokens =
      eco_counter("ecolink_gateway_completion_tokens_total", "Completion tokens by the engines' usage", NULL);
  ejections = eco_counter("ecolink_gateway_ejections_total", "Replicas ejected after failures in a row", NULL);
  retries = eco_counter("ecolink_gateway_retries_total", "Attempts after the first", NULL);
  clients = eco_gauge("ecolink_gateway_client_connections", "Open client connections", NULL);
  in_flight = eco_gauge("ecolink_gateway_requests_in_flight", "Requests being answered", NULL);
  streams = eco_gauge("ecolink_gateway_open_streams", "Event streams open", NULL);
  snapshot_keys = eco_gauge("ecolink_gateway_snapshot_keys", "Keys in memory", NULL);
  snapshot_routes = eco_gauge("ecolink_gateway_snapshot_routes", "Routes in memory", NULL);
  snapshot_age = eco_gauge("ecolink_gateway_snapshot_age_ms", "Since the bus last confirmed the snapshot", NULL);
  spool_bytes = eco_gauge("ecolink_gateway_spool_bytes", "Usage not yet taken by the bus", NULL);
  usage_dropped = eco_gauge("ecolink_gateway_usage_dropped", "Usage records lost to a full ring or spool", NULL);
}

void gw_metrics_answer(int status, double seconds) {
  unsigned i = status >= 100 && status < 600 ? (unsigned)status / 100 : 0;
  eco_metric_add(answers[i], 1);
  eco_metric_observe(durations, seconds);
}

void gw_metrics_error(const char *code) {
  char labels[96];
  snprintf(labels, sizeof labels, "code=\"%s\"", code);
  eco_metric_add(eco_counter("ecolink_gateway_errors_total", "Errors of the gateway itself, by code", labels), 1);
}

void gw_metrics_first_byte(double seconds) {
  eco_metric_observe(first_byte, seconds);
}
void gw_metrics_first_content(double seconds) {
  eco_metric_observe(first_content, seconds);
}
void gw_metrics_tokens(int64_t prompt, int64_t completion) {
  eco_metric_add(prompt_tokens, prompt);
  eco_metric_add(completion_tokens, completion);
}
void gw_metrics_upstream_failure(gw_failure kind) {
  eco_metric_add(failures[kind], 1);
}
void gw_metrics_ejection(void) {
  eco_metric_add(ejections, 1);
}
void gw_metrics_retry(void) {
  eco_metric_add(retries, 1);
}
void gw_metrics_clients(int64_t delta) {
  eco_metric_add(clients, delta);
}
void gw_metrics_in_flight(int64_t delta) {
  eco_metric_add(in_flight, delta);
}
void gw_metrics_streams(int64_t delta) {
  eco_metric_add(streams, delta);
}
void gw_metrics_snapshot(size_t keys, size_t routes, int64_t age_ms) {
  eco_metric_set(snapshot_keys, (int64_t)keys);
  eco_metric_set(snapshot_routes, (int64_t)routes);
  eco_metric_set(snapshot_age, age_ms);
}
void gw_metrics_spool(int64_t bytes, int64_t dropped) {
  eco_metric_set(spool_bytes, bytes);
  eco_metric_set(usage_dropped, dropped);
}
