// Requests: handles, tokens, rate limit, retries on 429 and 401.
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ecolink/clock.h"
#include "kube_client_internal.h"

enum { HEADER_BYTES_MAX = 16384, RETRY_SMALLEST_MS = 50, URL_BYTES_MAX = 8192 };

// ---- handles ----
static bool set_blob(CURL *easy, CURLoption option, const char *pem) {
  struct curl_blob blob = {.data = (void *)pem, .len = strlen(pem), .flags = CURL_BLOB_NOCOPY};
  return *pem == '\0' || curl_easy_setopt(easy, option, &blob) == CURLE_OK;
}

static int on_progress(void *arg, curl_off_t dl_total, curl_off_t dl, curl_off_t ul_total, curl_off_t ul) {
  (void)dl_total;
  (void)dl;
  (void)ul_total;
  (void)ul;
  return kube_client_stopped(arg) ? 1 : 0;
}

CURL *kube_handle_new(kube_client *c) {
  CURL *easy = curl_easy_init();
  bool ok = easy && set_blob(easy, CURLOPT_CAINFO_BLOB, c->config.ca_pem) &&
            set_blob(easy, CURLOPT_SSLCERT_BLOB, c->config.cert_pem) &&
            set_blob(easy, CURLOPT_SSLKEY_BLOB, c->config.key_pem);
  if (!ok) {
    curl_easy_cleanup(easy);
    return NULL;
  }
  if (*c->config.ca_pem) {
    curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);  // this cluster's authority and no other
  }
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
  curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, c->user_agent);
  curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)KUBE_CONNECT_TIMEOUT_MS);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 10L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 3L);
  curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, 120L);
  curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(easy, CURLOPT_XFERINFODATA, c);
  curl_easy_setopt(easy, CURLOPT_CONNECT_TO, c->connect_to);
  return easy;
}

CURL *kube_handle_take(kube_client *c) {
  pthread_mutex_lock(&c->lock);
  CURL *easy = c->idle_count > 0 ? c->idle[--c->idle_count] : NULL;
  pthread_mutex_unlock(&c->lock);
  return easy ? easy : kube_handle_new(c);
}

void kube_handle_give(kube_client *c, CURL *easy, bool reusable) {
  pthread_mutex_lock(&c->lock);
  bool kept = reusable && !c->stopped && c->idle_count < KUBE_HANDLES_MAX;
  if (kept) {
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, NULL);
    c->idle[c->idle_count++] = easy;
  }
  pthread_mutex_unlock(&c->lock);
  if (!kept) {
    curl_easy_cleanup(easy);
  }
}

// https://<server>/<path>; with tls-server-name its name takes the host's place (connect_to leads to the address).
bool kube_handle_aim(kube_client *c, CURL *easy, const char *path) {
  eco_buf url;
  eco_buf_init(&url, URL_BYTES_MAX);
  bool ok = true;
  if (*c->config.tls_server_name) {
    const char *host = c->config.server + strlen("https://");
    const char *rest = strchr(host, '/');
    const char *end = rest ? rest : host + strlen(host);
    const char *bracket = memchr(host, ']', (size_t)(end - host));
    const char *colon = memchr(bracket ? bracket : host, ':', (size_t)(end - (bracket ? bracket : host)));
    ok = eco_buf_printf(&url, "https://%s%.*s%s", c->config.tls_server_name, colon ? (int)(end - colon) : 0,
                        colon ? colon : "", rest ? rest : "");
  } else {
    ok = eco_buf_puts(&url, c->config.server);
  }
  ok = ok && eco_buf_puts(&url, path) && curl_easy_setopt(easy, CURLOPT_URL, url.data) == CURLE_OK;
  eco_buf_free(&url);
  return ok;
}

// ---- state ----
bool kube_client_stopped(kube_client *c) {
  pthread_mutex_lock(&c->lock);
  bool stopped = c->stopped;
  pthread_mutex_unlock(&c->lock);
  return stopped;
}

uint32_t kube_client_chance(kube_client *c) {
  pthread_mutex_lock(&c->lock);
  c->chance ^= c->chance << 13;
  c->chance ^= c->chance >> 7;
  c->chance ^= c->chance << 17;
  uint32_t out = (uint32_t)(c->chance >> 16);
  pthread_mutex_unlock(&c->lock);
  return out;
}

bool kube_client_sleep(kube_client *c, int64_t ms) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += ms / 1000;
  until.tv_nsec += ms % 1000 * 1000000;
  if (until.tv_nsec >= 1000000000) {
    until.tv_sec++;
    until.tv_nsec -= 1000000000;
  }
  pthread_mutex_lock(&c->lock);
  int late = 0;
  while (!c->stopped && late == 0) {
    late = pthread_cond_clockwait(&c->wake, &c->lock, CLOCK_MONOTONIC, &until);
  }
  bool go_on = !c->stopped;
  pthread_mutex_unlock(&c->lock);
  return go_on;
}

// ---- tokens ----
static void reread_token(kube_client *c, bool fresh) {
  int64_t now_ms = eco_boottime_ms();
  if (!*c->config.token_file || (!fresh && c->token && now_ms - c->token_read_ms < KUBE_TOKEN_REREAD_MS)) {
    return;
  }
  char *text = NULL;
  size_t len = 0;
  if (!eco_ok(kube_file_read(c->config.token_file, &text, &len))) {
    return;  // being replaced, or gone: the old one may still be good, and the server says if it is not
  }
  text[strcspn(text, "\r\n")] = '\0';
  if (c->token) {
    sodium_memzero(c->token, strlen(c->token));
    free(c->token);
  }
  c->token = text;
  c->token_read_ms = now_ms;
}

struct curl_slist *kube_authorize(kube_client *c, struct curl_slist *headers, bool fresh) {
  eco_buf line;
  eco_buf_init(&line, KUBE_FILE_BYTES_MAX + 64);
  pthread_mutex_lock(&c->lock);
  reread_token(c, fresh);
  const char *token = c->token && *c->token ? c->token : c->config.token;
  if (*token && eco_buf_puts(&line, "Authorization: Bearer ") && eco_buf_puts(&line, token)) {
    headers = curl_slist_append(headers, line.data);
  }
  pthread_mutex_unlock(&c->lock);
  if (line.len) {
    sodium_memzero(line.data, line.len);
  }
  eco_buf_free(&line);
  return headers;
}

void kube_headers_free(struct curl_slist *headers) {
  for (struct curl_slist *h = headers; h; h = h->next) {
    sodium_memzero(h->data, strlen(h->data));
  }
  curl_slist_free_all(headers);
}

// ---- one exchange ----
typedef struct exchange {
  kube_answer *answer;
  int retry_after_s;
  bool overflow;
} exchange;

static size_t on_body(char *data, size_t size, size_t n, void *arg) {
  exchange *x = arg;
  x->overflow = x->overflow || !eco_buf_append(&x->answer->body, data, size * n);
  return x->overflow ? 0 : size * n;
}

static size_t on_header(char *data, size_t size, size_t n, void *arg) {
  exchange *x = arg;
  size_t len = size * n;
  static const char name[] = "retry-after:";
  if (len > sizeof(name) - 1 && strncasecmp(data, name, sizeof(name) - 1) == 0) {
    x->retry_after_s = kube_retry_after(data + sizeof(name) - 1, len - (sizeof(name) - 1));
  }
  return len;
}

void kube_problem_of_transfer(CURL *easy, CURLcode result, bool stopped, kube_problem *out) {
  const char *words = curl_easy_strerror(result);
  (void)easy;
  *out = (kube_problem){.reason = KUBE_UNREACHABLE};
  if (stopped) {
    words = "the scheduler is stopping";
  } else if (result == CURLE_OPERATION_TIMEDOUT) {
    out->reason = KUBE_TIMEOUT;
    words = "no answer in time";
  }
  (void)snprintf(out->message, sizeof(out->message), "%s", words);
}

static void set_request(kube_client *c, CURL *easy, const kube_request *r, exchange *x, int64_t left_ms) {
  (void)c;
  curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, r->method);
  if (r->body) {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, r->body);
  } else {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, NULL);
    curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, r->method);
  }
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)left_ms);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, x);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, x);
}

static struct curl_slist *headers_of(kube_client *c, const kube_request *r, bool fresh_token) {
  char line[256];
  (void)snprintf(line, sizeof(line), "Accept: %s", r->accept ? r->accept : KUBE_JSON);
  struct curl_slist *headers = curl_slist_append(NULL, line);
  headers = curl_slist_append(headers, "Expect:");
  if (r->body) {
    (void)snprintf(line, sizeof(line), "Content-Type: %s", r->content_type ? r->content_type : KUBE_JSON);
    headers = curl_slist_append(headers, line);
  }
  return kube_authorize(c, headers, fresh_token);
}

static kube_reason exchange_once(kube_client *c, const kube_request *r, kube_answer *out, int64_t left_ms, bool fresh) {
  CURL *easy = kube_handle_take(c);
  exchange x = {.answer = out};
  long http = 0;
  eco_buf_reset(&out->body);
  out->problem = (kube_problem){.reason = KUBE_UNREACHABLE, .message = "no request could be made"};
  if (!easy || !kube_handle_aim(c, easy, r->path)) {
    curl_easy_cleanup(easy);
    return out->problem.reason;
  }
  struct curl_slist *headers = headers_of(c, r, fresh);
  set_request(c, easy, r, &x, left_ms);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  CURLcode result = curl_easy_perform(easy);
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &http);
  if (x.overflow) {
    out->problem = (kube_problem){.reason = KUBE_TOO_LARGE};
    (void)snprintf(out->problem.message, sizeof(out->problem.message), "the answer is longer than %zu bytes",
                   out->body.max);
  } else if (result != CURLE_OK) {
    kube_problem_of_transfer(easy, result, kube_client_stopped(c), &out->problem);
  } else if (http >= 200 && http < 300) {
    out->problem = (kube_problem){.reason = KUBE_OK, .http = (int)http};
  } else {
    kube_problem_read((int)http, out->body.data, out->body.len, x.retry_after_s, &out->problem);
  }
  kube_handle_give(c, easy, result == CURLE_OK && !x.overflow);
  kube_headers_free(headers);
  return out->problem.reason;
}

// Waits for the rate limit's leave. False: not before the deadline, or the client was stopped. Reads let writes go
// first, but not for long: a region that is busy writing must still be seen to be alive.
static bool wait_turn(kube_client *c, kube_priority priority, int64_t deadline_ms) {
  int64_t patient_until_ms = eco_boottime_ms() + KUBE_READ_PATIENCE_MS;
  for (;;) {
    int64_t now_ms = eco_boottime_ms();
    priority = now_ms >= patient_until_ms ? KUBE_WRITE : priority;
    pthread_mutex_lock(&c->lock);
    int64_t wait_ms = kube_bucket_take(&c->bucket, priority, now_ms);
    pthread_mutex_unlock(&c->lock);
    if (wait_ms == 0) {
      return true;
    }
    bool hopeless = priority == KUBE_WRITE && now_ms + wait_ms >= deadline_ms;
    int64_t pause_ms =
        priority == KUBE_READ && patient_until_ms - now_ms < wait_ms ? patient_until_ms - now_ms : wait_ms;
    if (hopeless || now_ms >= deadline_ms || !kube_client_sleep(c, pause_ms)) {
      return false;
    }
  }
}

static kube_reason no_turn(kube_client *c, kube_answer *out) {
  bool stopped = kube_client_stopped(c);
  if (out->problem.reason == KUBE_THROTTLED && !stopped) {
    return KUBE_THROTTLED;  // what the server said is more to the point
  }
  out->problem = (kube_problem){.reason = stopped ? KUBE_UNREACHABLE : KUBE_THROTTLED};
  (void)snprintf(out->problem.message, sizeof(out->problem.message), "%s",
                 stopped ? "the scheduler is stopping" : "too many requests to this region at once");
  return out->problem.reason;
}

kube_reason kube_call(kube_client *c, const kube_request *r, kube_answer *out) {
  int64_t deadline_ms = eco_boottime_ms() + (r->timeout_ms ? r->timeout_ms : KUBE_TIMEOUT_MS);
  bool fresh = false;
  bool renewed = false;
  *out = (kube_answer){.problem = {.reason = KUBE_UNREACHABLE}};
  eco_buf_init(&out->body, r->answer_max ? r->answer_max : KUBE_ANSWER_BYTES_MAX);
  for (;;) {
    if (kube_client_stopped(c) || !wait_turn(c, r->priority, deadline_ms)) {
      return no_turn(c, out);
    }
    int64_t left_ms = deadline_ms - eco_boottime_ms();
    kube_reason reason = exchange_once(c, r, out, left_ms > RETRY_SMALLEST_MS ? left_ms : RETRY_SMALLEST_MS, fresh);
    fresh = false;
    if (reason == KUBE_THROTTLED) {
      int64_t wait_ms = out->problem.retry_after_s > 0 ? out->problem.retry_after_s * INT64_C(1000)
                                                       : kube_backoff_ms(2, kube_client_chance(c));
      pthread_mutex_lock(&c->lock);
      kube_bucket_block(&c->bucket, eco_boottime_ms() + wait_ms);
      pthread_mutex_unlock(&c->lock);
      continue;  // wait_turn ends it when the deadline comes first
    }
    if (reason == KUBE_UNAUTHORIZED && !renewed && *c->config.token_file) {
      fresh = renewed = true;
      continue;
    }
    return reason;
  }
}

void kube_answer_free(kube_answer *answer) {
  if (answer->body.len) {
    sodium_memzero(answer->body.data, answer->body.len);  // it may be a Secret
  }
  eco_buf_free(&answer->body);
}

// ---- open and close ----
static bool build_connect_to(kube_client *c) {
  if (!*c->config.tls_server_name) {
    return true;
  }
  const char *host = c->config.server + strlen("https://");
  char line[1024];
  bool has_port = strrchr(host, ':') && !strchr(strrchr(host, ':'), ']');
  (void)snprintf(line, sizeof(line), "::%.*s%s", (int)strcspn(host, "/"), host, has_port ? "" : ":");
  c->connect_to = curl_slist_append(NULL, line);
  return c->connect_to != NULL;
}

eco_status kube_client_open(kube_config *config, const kube_client_options *options, kube_client **out) {
  kube_client *c = calloc(1, sizeof(*c));
  if (!c) {
    kube_config_free(config);
    return eco_error(ECO_OVERLOADED, "not enough memory");
  }
  c->config = *config;
  *config = (kube_config){0};
  (void)pthread_mutex_init(&c->lock, NULL);
  (void)pthread_cond_init(&c->wake, NULL);
  c->user_agent = strdup(options->user_agent);
  c->watch_idle_ms = options->watch_idle_ms ? options->watch_idle_ms : KUBE_WATCH_IDLE_MS;
  randombytes_buf(&c->chance, sizeof(c->chance));
  c->chance |= 1;
  int rate = options->rate_per_s ? options->rate_per_s : KUBE_RATE_PER_S;
  kube_bucket_init(&c->bucket, rate, KUBE_BURST, KUBE_RESERVED_FOR_WRITES, eco_boottime_ms());
  CURL *probe = c->user_agent && build_connect_to(c) ? kube_handle_new(c) : NULL;
  if (!probe) {
    kube_client_close(c);
    return eco_error(ECO_INVALID_REQUEST, "the certificates of the kubeconfig cannot be used");
  }
  c->idle[c->idle_count++] = probe;
  *out = c;
  return eco_success();
}

void kube_client_stop(kube_client *c) {
  pthread_mutex_lock(&c->lock);
  c->stopped = true;
  pthread_cond_broadcast(&c->wake);
  pthread_mutex_unlock(&c->lock);
}

void kube_client_close(kube_client *c) {
  if (!c) {
    return;
  }
  while (c->idle_count > 0) {
    curl_easy_cleanup(c->idle[--c->idle_count]);
  }
  curl_slist_free_all(c->connect_to);
  if (c->token) {
    sodium_memzero(c->token, strlen(c->token));
    free(c->token);
  }
  kube_config_free(&c->config);
  free(c->user_agent);
  (void)pthread_cond_destroy(&c->wake);
  (void)pthread_mutex_destroy(&c->lock);
  free(c);
}

const char *kube_client_namespace(const kube_client *c) {
  return c->config.name_space;
}

bool kube_escape(eco_buf *out, const char *text) {
  static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  bool ok = true;
  for (; *text && ok; text++) {
    ok = strchr(unreserved, *text) ? eco_buf_putc(out, *text) : eco_buf_printf(out, "%%%02X", (unsigned char)*text);
  }
  return ok;
}
