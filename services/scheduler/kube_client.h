// A small Kubernetes client over libcurl: requests, paged lists, watches.
//
// The server's certificate is always verified. Connections are reused. Every request has a deadline, which includes its
// waiting for the rate limit and for a server that said Retry-After. Answers are bounded. A token file is re-read while
// the client lives, and at once after a 401. Any thread may call; kube_client_stop makes every call return soon.
#ifndef SCHEDULER_KUBE_CLIENT_H
#define SCHEDULER_KUBE_CLIENT_H

#include <yyjson.h>

#include "ecolink/buf.h"
#include "kube_config.h"
#include "kube_rules.h"

typedef struct kube_client kube_client;

typedef struct kube_client_options {
  const char *user_agent;
  int rate_per_s;     // 0: KUBE_RATE_PER_S
  int watch_idle_ms;  // 0: KUBE_WATCH_IDLE_MS
} kube_client_options;

// Takes over `config` (empty afterwards), success or not.
ECO_CHECKED eco_status kube_client_open(kube_config *config, const kube_client_options *options, kube_client **out);
// Calls under way end with KUBE_UNREACHABLE, later ones at once.
void kube_client_stop(kube_client *client);
void kube_client_close(kube_client *client);  // no call is under way any more
const char *kube_client_namespace(const kube_client *client);

// ---- one request ----
#define KUBE_JSON "application/json"
#define KUBE_APPLY "application/apply-patch+yaml"
#define KUBE_MERGE_PATCH "application/merge-patch+json"
#define KUBE_JSON_PATCH "application/json-patch+json"
// Metadata alone: secrets are watched without their content.
#define KUBE_ACCEPT_METADATA_LIST "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
#define KUBE_ACCEPT_METADATA "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"

typedef struct kube_request {
  const char *method;
  const char *path;          // with its query, everything escaped
  const char *accept;        // NULL: JSON
  const char *content_type;  // NULL without a body
  const char *body;          // NULL: none
  size_t body_len;
  kube_priority priority;
  int timeout_ms;     // 0: KUBE_TIMEOUT_MS
  size_t answer_max;  // 0: KUBE_ANSWER_BYTES_MAX
} kube_request;

typedef struct kube_answer {
  kube_problem problem;  // reason KUBE_OK: success
  eco_buf body;          // of a success
} kube_answer;

// KUBE_OK or why not; *out is always initialised and must be freed.
kube_reason kube_call(kube_client *client, const kube_request *request, kube_answer *out);
void kube_answer_free(kube_answer *answer);

// ---- lists ----
typedef struct kube_list_fns {
  void (*begin)(void *arg);  // also when a list has to start anew (410 between pages): what came before is void
  void (*item)(void *arg, yyjson_val *object);
} kube_list_fns;
// Reads all pages, `path` without limit and continue. resource_version receives the list's.
kube_reason kube_list(kube_client *client, const char *path, const char *accept, const kube_list_fns *fns, void *arg,
                      char resource_version[KUBE_RV_MAX], kube_problem *problem);

// ---- watches ----
typedef enum kube_event { KUBE_ADDED, KUBE_MODIFIED, KUBE_DELETED, KUBE_BOOKMARK } kube_event;
typedef struct kube_watch_fns {
  void (*event)(void *arg, kube_event type, yyjson_val *object);
  void (*alive)(void *arg);  // the server said something
  bool (*go_on)(void *arg);  // asked now and then; false ends the watch with KUBE_GONE. NULL: always
} kube_watch_fns;
// Follows changes from *resource_version on, and keeps it up to date, until the stream ends: KUBE_OK the server closed
// it as agreed, KUBE_GONE list again, KUBE_TIMEOUT it stalled, or another trouble. `path` without watch parameters.
kube_reason kube_watch(kube_client *client, const char *path, const char *accept, const kube_watch_fns *fns, void *arg,
                       char resource_version[KUBE_RV_MAX], kube_problem *problem);

// Appends text to a URL's path or query, everything but unreserved characters escaped. False: no room.
bool kube_escape(eco_buf *out, const char *text);
// Sleeps; false when the client was stopped meanwhile.
bool kube_client_sleep(kube_client *client, int64_t ms);

#endif
