// NATS beneath the kit, for the gateway: asynchronous RPC and KV readers. Control-plane handlers do not need this
// header.
#ifndef ECOLINK_BUS_H
#define ECOLINK_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ecolink/service.h"

// ---- asynchronous RPC ----
// Called once per call, on a kit thread: reply is the packed response message (borrowed during the call), or st a
// failure.
typedef void (*eco_rpc_done_fn)(void *arg, eco_status st, const uint8_t *reply, size_t reply_len);
// Packs nothing and blocks on nothing: `request` is the packed request message, copied. `context` is packed at once.
// timeout_ms also becomes the absolute deadline. Failures to send come through done as well.
void eco_rpc_call_async(eco_service *svc, const char *method, const Ecolink__V1__RequestContext *context,
                        const uint8_t *request, size_t request_len, int timeout_ms, eco_rpc_done_fn done, void *arg);

// ---- KV reader ----
// Keeps a bucket in step: watch, plus a full re-read at reconnect, on any watch error, when a watch falls silent and
// every 30 s. Callbacks run on one kit thread per reader. `put` is called with rising versions per key only; `gone` for
// deletes, also of keys that were never put here, and, when the bucket's _generation is present, for keys that a full
// re-read no longer found. A lost or empty bucket removes nothing.
typedef struct eco_kv_reader eco_kv_reader;
typedef struct eco_kv_reader_fns {
  void (*put)(void *arg, const char *key, int64_t version, const uint8_t *value, size_t len);
  void (*gone)(void *arg, const char *key);
  void (*synced)(void *arg);  // after each full read: everything known has been told
} eco_kv_reader_fns;
ECO_CHECKED eco_status eco_kv_reader_open(eco_service *svc, const char *bucket, const eco_kv_reader_fns *fns, void *arg,
                                          eco_kv_reader **out);
// Whether a bucket that its owner had filled (`_generation` is there) was read to its end since the reader opened. Any
// thread; NULL: no.
bool eco_kv_reader_is_whole(const eco_kv_reader *reader);
void eco_kv_reader_close(eco_kv_reader *reader);

bool eco_bus_connected(const eco_service *svc);

#endif
