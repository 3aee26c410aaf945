// The Kubernetes client's pure rules: what an error means, how long to wait, who may ask next. No I/O, no clock.
#ifndef SCHEDULER_KUBE_RULES_H
#define SCHEDULER_KUBE_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ecolink/status.h"
#include "kube_limits.h"

// ---- errors ----
typedef enum kube_reason {
  KUBE_OK,
  KUBE_NOT_FOUND,
  KUBE_EXISTS,        // AlreadyExists
  KUBE_CONFLICT,      // resourceVersion or uid differs, or another field manager owns it
  KUBE_GONE,          // 410: the position is too old, list again
  KUBE_INVALID,       // 400, 422: asking again the same changes nothing
  KUBE_UNAUTHORIZED,  // 401: the token has expired, or never was one
  KUBE_FORBIDDEN,     // 403: rights or quota
  KUBE_TERMINATING,   // its namespace is being deleted
  KUBE_THROTTLED,     // 429
  KUBE_SERVER,        // 5xx
  KUBE_UNREACHABLE,   // no answer
  KUBE_TIMEOUT,
  KUBE_TOO_LARGE,  // the answer passed its bound
  KUBE_GARBAGE,    // the answer is none of an API server
} kube_reason;

enum { KUBE_MESSAGE_MAX = 320, KUBE_WORD_MAX = 48 };

typedef struct kube_problem {
  kube_reason reason;
  int http;
  char word[KUBE_WORD_MAX];        // Status.reason: "AlreadyExists"
  char message[KUBE_MESSAGE_MAX];  // Status.message
  int retry_after_s;               // header or details.retryAfterSeconds; 0: none
} kube_problem;

// Reads an answer that is no success. `body` is a Status, or anything. Bytes that are no printable ASCII become '?'.
void kube_problem_read(int http, const char *body, size_t len, int retry_after_s, kube_problem *out);
// For people and for the kit: transient reasons get transient codes.
eco_status kube_problem_status(const kube_problem *problem, const char *doing);
// Whether the same request may succeed by itself later.
bool kube_reason_is_transient(kube_reason reason);
// Value of a Retry-After header: seconds only (dates are not sent by API servers). 0: none, or nonsense.
int kube_retry_after(const char *value, size_t len);

// ---- resource versions ----
// -1, 0, 1; numbers of any length. *comparable false: one of them is no number.
int kube_rv_compare(const char *a, const char *b, bool *comparable);

// ---- back-off ----
// `failures` >= 1; `chance` is any random number. Between half of and the whole of 200 ms, 400 ms, ... 30 s.
int64_t kube_backoff_ms(int failures, uint32_t chance);

// ---- rate limit: a bucket of which reads leave a part to writes ----
typedef enum kube_priority { KUBE_READ, KUBE_WRITE } kube_priority;
typedef struct kube_bucket {
  int64_t rate_per_s;
  int64_t burst;
  int64_t reserved;          // for writes
  int64_t tokens_milli;      // thousandths
  int64_t at_ms;             // when tokens_milli was true
  int64_t blocked_until_ms;  // Retry-After of a 429
} kube_bucket;
void kube_bucket_init(kube_bucket *b, int64_t rate_per_s, int64_t burst, int64_t reserved, int64_t now_ms);
// 0: go, a token was taken. Otherwise milliseconds after which to ask again.
int64_t kube_bucket_take(kube_bucket *b, kube_priority priority, int64_t now_ms);
void kube_bucket_block(kube_bucket *b, int64_t until_ms);

#endif
