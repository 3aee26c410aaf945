// The client's rules.
#include "kube_rules.h"

#include <stdio.h>
#include <string.h>
#include <yyjson.h>

// ---- errors ----
static kube_reason reason_of(int http, const char *word, yyjson_val *status) {
  yyjson_val *causes = yyjson_obj_get(yyjson_obj_get(status, "details"), "causes");
  size_t i;
  size_t n;
  yyjson_val *cause;
  switch (http) {
    case 401:
      return KUBE_UNAUTHORIZED;
    case 403:
      yyjson_arr_foreach(causes, i, n, cause) {
        const char *type = yyjson_get_str(yyjson_obj_get(cause, "reason"));
        if (type && strcmp(type, "NamespaceTerminating") == 0) {
          return KUBE_TERMINATING;
        }
      }
      return KUBE_FORBIDDEN;
    case 404:
      return KUBE_NOT_FOUND;
    case 409:
      return strcmp(word, "AlreadyExists") == 0 ? KUBE_EXISTS : KUBE_CONFLICT;
    case 410:
      return KUBE_GONE;
    case 429:
      return KUBE_THROTTLED;
    default:
      if (http >= 500) {
        return KUBE_SERVER;
      }
      return http >= 400 ? KUBE_INVALID : KUBE_GARBAGE;
  }
}

static void copy_printable(char *out, size_t cap, const char *s) {
  size_t n = 0;
  for (; s && s[n] && n + 1 < cap; n++) {
    out[n] = s[n] >= ' ' && s[n] < 0x7f ? s[n] : (s[n] == '\n' || s[n] == '\t' ? ' ' : '?');
  }
  out[n] = '\0';
}

void kube_problem_read(int http, const char *body, size_t len, int retry_after_s, kube_problem *out) {
  *out = (kube_problem){.http = http, .retry_after_s = retry_after_s};
  yyjson_doc *doc = len ? yyjson_read(body, len, 0) : NULL;
  yyjson_val *root = doc ? yyjson_doc_get_root(doc) : NULL;
  const char *kind = yyjson_get_str(yyjson_obj_get(root, "kind"));
  if (kind && strcmp(kind, "Status") == 0) {
    copy_printable(out->word, sizeof(out->word), yyjson_get_str(yyjson_obj_get(root, "reason")));
    copy_printable(out->message, sizeof(out->message), yyjson_get_str(yyjson_obj_get(root, "message")));
    int64_t asked = yyjson_get_sint(yyjson_obj_get(yyjson_obj_get(root, "details"), "retryAfterSeconds"));
    if (!out->retry_after_s && asked > 0) {
      out->retry_after_s = asked > KUBE_RETRY_AFTER_MAX_S ? KUBE_RETRY_AFTER_MAX_S : (int)asked;
    }
  } else {
    char text[KUBE_MESSAGE_MAX];
    snprintf(text, sizeof(text), "%.*s", (int)(len < 160 ? len : 160), len ? body : "");
    copy_printable(out->message, sizeof(out->message), text);
    root = NULL;
  }
  out->reason = reason_of(http, out->word, root);
  yyjson_doc_free(doc);
}

bool kube_reason_is_transient(kube_reason reason) {
  switch (reason) {
    case KUBE_CONFLICT:
    case KUBE_GONE:
    case KUBE_UNAUTHORIZED:  // a rotated token makes it pass
    case KUBE_TERMINATING:
    case KUBE_THROTTLED:
    case KUBE_SERVER:
    case KUBE_UNREACHABLE:
    case KUBE_TIMEOUT:
    case KUBE_GARBAGE:
      return true;
    default:
      return false;
  }
}

eco_status kube_problem_status(const kube_problem *p, const char *doing) {
  eco_code code = ECO_CONTROL_PLANE_UNAVAILABLE;
  switch (p->reason) {
    case KUBE_OK:
      return eco_success();
    case KUBE_NOT_FOUND:
      code = ECO_NOT_FOUND;
      break;
    case KUBE_EXISTS:
      code = ECO_NAME_TAKEN;
      break;
    case KUBE_INVALID:
      code = ECO_INVALID_REQUEST;
      break;
    case KUBE_FORBIDDEN:
      code = ECO_FORBIDDEN;
      break;
    case KUBE_TOO_LARGE:
      code = ECO_TOO_LARGE;
      break;
    default:
      break;
  }
  if (p->http) {
    return eco_error(code, "%s: the API server answers %d%s%s: %.240s", doing, p->http, *p->word ? " " : "", p->word,
                     *p->message ? p->message : "(no message)");
  }
  return eco_error(code, "%s: %.300s", doing, p->message);
}

int kube_retry_after(const char *value, size_t len) {
  int seconds = 0;
  size_t i = 0;
  while (i < len && (value[i] == ' ' || value[i] == '\t')) {
    i++;
  }
  size_t first = i;
  for (; i < len && value[i] >= '0' && value[i] <= '9'; i++) {
    seconds = seconds * 10 + (value[i] - '0');
    seconds = seconds > KUBE_RETRY_AFTER_MAX_S ? KUBE_RETRY_AFTER_MAX_S : seconds;
  }
  while (i < len && (value[i] == ' ' || value[i] == '\t' || value[i] == '\r' || value[i] == '\n')) {
    i++;
  }
  return i == len && i > first ? seconds : 0;
}

// ---- resource versions ----
static bool is_number(const char *s) {
  return *s && strspn(s, "0123456789") == strlen(s);
}

int kube_rv_compare(const char *a, const char *b, bool *comparable) {
  *comparable = is_number(a) && is_number(b);
  if (!*comparable) {
    return 0;
  }
  a += strspn(a, "0");
  b += strspn(b, "0");
  size_t la = strlen(a);
  size_t lb = strlen(b);
  if (la != lb) {
    return la < lb ? -1 : 1;
  }
  int c = strcmp(a, b);
  return c < 0 ? -1 : c > 0;
}

// ---- back-off ----
int64_t kube_backoff_ms(int failures, uint32_t chance) {
  int64_t whole = KUBE_BACKOFF_FIRST_MS;
  for (int i = 1; i < failures && whole < KUBE_BACKOFF_MAX_MS; i++) {
    whole *= 2;
  }
  whole = whole > KUBE_BACKOFF_MAX_MS ? KUBE_BACKOFF_MAX_MS : whole;
  return whole / 2 + chance % (whole / 2 + 1);
}

// ---- rate limit ----
void kube_bucket_init(kube_bucket *b, int64_t rate_per_s, int64_t burst, int64_t reserved, int64_t now_ms) {
  *b = (kube_bucket){
      .rate_per_s = rate_per_s, .burst = burst, .reserved = reserved, .tokens_milli = burst * 1000, .at_ms = now_ms};
}

static void refill(kube_bucket *b, int64_t now_ms) {
  int64_t passed = now_ms > b->at_ms ? now_ms - b->at_ms : 0;
  int64_t full = b->burst * 1000;
  bool overflows =
      passed > full / b->rate_per_s + 1;  // tokens come in thousandths: rate_per_s of them each millisecond
  b->tokens_milli = overflows ? full : b->tokens_milli + passed * b->rate_per_s;
  b->tokens_milli = b->tokens_milli > full ? full : b->tokens_milli;
  b->at_ms = now_ms > b->at_ms ? now_ms : b->at_ms;
}

int64_t kube_bucket_take(kube_bucket *b, kube_priority priority, int64_t now_ms) {
  refill(b, now_ms);
  if (now_ms < b->blocked_until_ms) {
    return b->blocked_until_ms - now_ms;
  }
  int64_t needed = 1000 + (priority == KUBE_READ ? b->reserved * 1000 : 0);
  if (b->tokens_milli >= needed) {
    b->tokens_milli -= 1000;
    return 0;
  }
  return (needed - b->tokens_milli + b->rate_per_s - 1) / b->rate_per_s;
}

void kube_bucket_block(kube_bucket *b, int64_t until_ms) {
  b->blocked_until_ms = until_ms > b->blocked_until_ms ? until_ms : b->blocked_until_ms;
}
