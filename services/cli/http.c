// libcurl, held to http and https, without redirects: a key is never carried to another host.
#include "http.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "term.h"

enum { CONNECT_TIMEOUT_MS = 10000 };

struct cli_http {
  CURL *curl;
  const char *url;
  const char *key;
  const char *ca_file;
};

typedef struct transfer {
  cli_http *http;
  const cli_request *request;
  cli_answer *answer;
  bool stopped;  // by the piece function or Ctrl-C: not a failure
  bool too_large;
} transfer;

eco_status cli_http_new(const char *url, const char *key, const char *ca_file, cli_http **out) {
  cli_http *http = calloc(1, sizeof(*http));
  if (http == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || (http->curl = curl_easy_init()) == NULL) {
    free(http);
    return eco_error(ECO_INTERNAL, "libcurl cannot start");
  }
  http->url = url;
  http->key = key;
  http->ca_file = ca_file;
  *out = http;
  return eco_success();
}

void cli_http_free(cli_http *http) {
  if (http != NULL) {
    curl_easy_cleanup(http->curl);
    curl_global_cleanup();
    free(http);
  }
}

void cli_answer_free(cli_answer *answer) {
  eco_buf_free(&answer->body);
}

static size_t on_body(char *p, size_t size, size_t n, void *arg) {
  transfer *t = arg;
  long status = 0;
  (void)curl_easy_getinfo(t->http->curl, CURLINFO_RESPONSE_CODE, &status);
  if (t->request->piece != NULL && status >= 200 && status < 300) {
    t->stopped = !t->request->piece(t->request->arg, p, size * n);
    return t->stopped ? 0 : size * n;
  }
  t->too_large = !eco_buf_append(&t->answer->body, p, size * n);
  return t->too_large ? 0 : size * n;
}

static void keep_header(const char *line, size_t n, const char *name, char out[CLI_HEADER_MAX]) {
  size_t len = strlen(name);
  if (n <= len || strncasecmp(line, name, len) != 0) {
    return;
  }
  line += len;
  n -= len;
  while (n > 0 && (*line == ' ' || *line == '\t')) {
    line++;
    n--;
  }
  while (n > 0 && ((unsigned char)line[n - 1] <= ' ')) {
    n--;
  }
  (void)snprintf(out, CLI_HEADER_MAX, "%.*s", (int)(n < CLI_HEADER_MAX ? n : CLI_HEADER_MAX), line);
  for (char *p = out; *p != '\0'; p++) {
    *p = (unsigned char)*p < ' ' || *p == 0x7F ? '?' : *p;
  }
}

static size_t on_header(char *p, size_t size, size_t n, void *arg) {
  cli_answer *answer = ((transfer *)arg)->answer;
  char retry_after[CLI_HEADER_MAX] = "";
  keep_header(p, size * n, "x-ecolink-request-id:", answer->request_id);
  keep_header(p, size * n, "x-ecolink-region:", answer->region);
  keep_header(p, size * n, "content-type:", answer->content_type);
  keep_header(p, size * n, "retry-after:", retry_after);
  if (retry_after[0] != '\0') {
    answer->retry_after_s = strtol(retry_after, NULL, 10);
  }
  return size * n;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
  (void)a;
  (void)b;
  (void)c;
  (void)d;
  transfer *t = arg;
  t->stopped = t->stopped || cli_interrupted != 0;
  return t->stopped ? 1 : 0;
}

// Appends a header; the list stays as it was when memory is short, and curl then sends without it.
static void add_header(struct curl_slist **list, const char *name, const char *value) {
  char line[1024];
  int n = snprintf(line, sizeof(line), "%s: %s", name, value);
  struct curl_slist *more = n > 0 && n < (int)sizeof(line) ? curl_slist_append(*list, line) : NULL;
  *list = more != NULL ? more : *list;
  explicit_bzero(line, sizeof(line));
}

static struct curl_slist *make_headers(const cli_http *http, const cli_request *request) {
  struct curl_slist *list = NULL;
  add_header(&list, "Accept", request->accept != NULL ? request->accept : "application/json");
  if (http->key[0] != '\0') {
    char bearer[512];
    (void)snprintf(bearer, sizeof(bearer), "Bearer %s", http->key);
    add_header(&list, "Authorization", bearer);
    explicit_bzero(bearer, sizeof(bearer));
  }
  if (request->body_len > 0) {
    add_header(&list, "Content-Type", "application/json");
  }
  if (request->idempotency_key != NULL) {
    add_header(&list, "Idempotency-Key", request->idempotency_key);
  }
  struct curl_slist *more = curl_slist_append(list, "Expect:");  // no round trip before the body
  return more != NULL ? more : list;
}

static void set_up(transfer *t, const char *url, struct curl_slist *headers) {
  CURL *curl = t->http->curl;
  const cli_request *r = t->request;
  curl_easy_reset(curl);
  (void)curl_easy_setopt(curl, CURLOPT_URL, url);
  (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  (void)curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
  (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)r->timeout_s);
  (void)curl_easy_setopt(curl, CURLOPT_TCP_NODELAY, 1L);
  (void)curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
  (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "ecolink-cli/" ECO_VERSION);
  (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, r->method);
  (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
  (void)curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  (void)curl_easy_setopt(curl, CURLOPT_HEADERDATA, t);
  (void)curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  (void)curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  (void)curl_easy_setopt(curl, CURLOPT_XFERINFODATA, t);
  if (t->http->ca_file != NULL) {
    (void)curl_easy_setopt(curl, CURLOPT_CAINFO, t->http->ca_file);
  }
  if (r->body != NULL) {
    (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, r->body);
    (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
  }
}

static eco_status failure_of(const transfer *t, CURLcode code, const char *detail) {
  const char *why = detail[0] != '\0' ? detail : curl_easy_strerror(code);
  if (t->too_large) {
    return eco_error(ECO_TOO_LARGE, "the answer is larger than %d MiB", CLI_ANSWER_MAX / 1024 / 1024);
  }
  if (code == CURLE_OPERATION_TIMEDOUT) {
    return eco_error(ECO_UPSTREAM_TIMEOUT, "%s did not answer in time: %s", t->http->url, why);
  }
  if (t->answer->status != 0) {
    return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "the answer of %s broke off: %s", t->http->url, why);
  }
  return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "cannot reach %s: %s", t->http->url, why);
}

eco_status cli_http_do(cli_http *http, const cli_request *request, cli_answer *out) {
  *out = (cli_answer){.retry_after_s = 0};
  eco_buf_init(&out->body, CLI_ANSWER_MAX);
  eco_buf url;
  eco_buf_init(&url, 16 * 1024);
  if (!eco_buf_puts(&url, http->url) || !eco_buf_puts(&url, request->path)) {
    eco_buf_free(&url);
    return eco_error(ECO_TOO_LARGE, "the request's URL is too long");
  }
  transfer t = {.http = http, .request = request, .answer = out};
  char detail[CURL_ERROR_SIZE] = "";
  struct curl_slist *headers = make_headers(http, request);
  set_up(&t, url.data, headers);
  (void)curl_easy_setopt(http->curl, CURLOPT_ERRORBUFFER, detail);
  CURLcode code = curl_easy_perform(http->curl);
  (void)curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &out->status);
  (void)curl_easy_getinfo(http->curl, CURLINFO_STARTTRANSFER_TIME, &out->first_byte_s);
  (void)curl_easy_setopt(http->curl, CURLOPT_ERRORBUFFER, NULL);
  curl_slist_free_all(headers);
  eco_buf_free(&url);
  if (code != CURLE_OK && !t.stopped) {
    return failure_of(&t, code, detail);
  }
  return eco_success();
}
