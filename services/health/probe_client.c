// Probes by libcurl's multi interface; the contract is in probe_client.h.
//
// A window of `concurrency` transfers is kept full from the list; libcurl's own queue is not used, because its waiting
// time would count against a probe's timeout.
#include "probe_client.h"

#include <curl/curl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe_judge.h"

enum { POLL_MS = 100, HEADER_MAX = 4096 };

typedef struct slot {
  CURL *easy;
  struct curl_slist *headers;
  probe_result *result;
  size_t body_len;
  bool busy;
  char error[CURL_ERROR_SIZE];
} slot;

struct probe_client {
  CURLM *multi;
  slot *slots;
  size_t n_slots;
  long timeout_ms;
};

bool probe_url(const probe_target *target, char out[HEALTH_URL_MAX]) {
  const char *path = target->path[0] != '\0' ? target->path : "/";
  if (target->host[0] == '\0' || target->port < 1 || target->port > 65535 || path[0] != '/') {
    return false;
  }
  for (const char *p = target->host; *p != '\0'; p++) {
    if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
          strchr(".:-_", *p) != NULL)) {
      return false;
    }
  }
  for (const char *p = path; *p != '\0'; p++) {
    if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f || *p == '#') {
      return false;
    }
  }
  bool v6 = strchr(target->host, ':') != NULL;
  int n = snprintf(out, HEALTH_URL_MAX, v6 ? "http://[%s]:%d%s" : "http://%s:%d%s", target->host, target->port, path);
  return n > 0 && n < HEALTH_URL_MAX;
}

// The body is not read beyond its bound: the transfer ends there, its status is known.
static size_t on_body(char *data, size_t size, size_t n, void *arg) {
  slot *s = arg;
  (void)data;
  s->body_len += size * n;
  return s->body_len > HEALTH_BODY_MAX ? 0 : size * n;
}

static bool setup_slot(slot *s, long timeout_ms) {
  s->easy = curl_easy_init();
  if (s->easy == NULL) {
    return false;
  }
  curl_easy_setopt(s->easy, CURLOPT_PROTOCOLS_STR, "http");
  curl_easy_setopt(s->easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(s->easy, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(s->easy, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(s->easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(s->easy, CURLOPT_TIMEOUT_MS, timeout_ms);
  curl_easy_setopt(s->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(s->easy, CURLOPT_USERAGENT, "ecolink-health/" ECO_VERSION);
  curl_easy_setopt(s->easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(s->easy, CURLOPT_WRITEDATA, s);
  curl_easy_setopt(s->easy, CURLOPT_ERRORBUFFER, s->error);
  curl_easy_setopt(s->easy, CURLOPT_PRIVATE, s);
  return true;
}

eco_status probe_client_new(int concurrency, long timeout_ms, probe_client **out) {
  probe_client *c = calloc(1, sizeof *c);
  if (c == NULL) {
    return eco_error(ECO_INTERNAL, "no memory for the prober");
  }
  c->timeout_ms = timeout_ms;
  c->multi = curl_multi_init();
  c->slots = calloc((size_t)concurrency, sizeof *c->slots);
  bool ok = c->multi != NULL && c->slots != NULL;
  for (; ok && c->n_slots < (size_t)concurrency; c->n_slots++) {
    ok = setup_slot(&c->slots[c->n_slots], timeout_ms);
  }
  if (!ok) {
    probe_client_free(c);
    return eco_error(ECO_INTERNAL, "libcurl does not start");
  }
  curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)concurrency * 2);
  *out = c;
  return eco_success();
}

static void release_slot(probe_client *c, slot *s) {
  if (s->busy) {
    curl_multi_remove_handle(c->multi, s->easy);
    s->busy = false;
  }
  curl_slist_free_all(s->headers);
  s->headers = NULL;
}

void probe_client_free(probe_client *c) {
  if (c == NULL) {
    return;
  }
  for (size_t i = 0; c->slots != NULL && i < c->n_slots; i++) {
    release_slot(c, &c->slots[i]);
    curl_easy_cleanup(c->slots[i].easy);
  }
  if (c->multi != NULL) {
    curl_multi_cleanup(c->multi);
  }
  free(c->slots);
  free(c);
}

// False when the probe cannot be sent: its result says why.
static bool start_probe(probe_client *c, slot *s, const probe_target *target, probe_result *result) {
  char url[HEALTH_URL_MAX];
  char header[HEADER_MAX];
  *result = (probe_result){.ok = false};
  if (!probe_url(target, url)) {
    (void)snprintf(result->reason, sizeof result->reason, "its address or health path cannot be probed");
    return false;
  }
  s->result = result;
  s->body_len = 0;
  s->error[0] = '\0';
  if (target->token[0] != '\0') {
    int n = snprintf(header, sizeof header, "Authorization: Bearer %s", target->token);
    s->headers = n > 0 && n < HEADER_MAX && strpbrk(header, "\r\n") == NULL ? curl_slist_append(NULL, header) : NULL;
  }
  curl_easy_setopt(s->easy, CURLOPT_URL, url);
  curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER, s->headers);
  if (curl_multi_add_handle(c->multi, s->easy) != CURLM_OK) {
    (void)snprintf(result->reason, sizeof result->reason, "the probe could not be sent");
    release_slot(c, s);
    return false;
  }
  s->busy = true;
  return true;
}

static void finish_probe(probe_client *c, slot *s, CURLcode code) {
  long status = 0;
  curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
  bool cut = code == CURLE_WRITE_ERROR && s->body_len > HEALTH_BODY_MAX;
  if (code != CURLE_OK && !cut) {
    (void)snprintf(s->result->reason, sizeof s->result->reason, "health path: %.100s",
                   s->error[0] != '\0' ? s->error : curl_easy_strerror(code));
  } else if (!probe_status_ok(status)) {
    (void)snprintf(s->result->reason, sizeof s->result->reason, "health path answers %ld", status);
  } else {
    s->result->ok = true;
  }
  release_slot(c, s);
}

static size_t reap(probe_client *c) {
  size_t done = 0;
  int left = 0;
  for (CURLMsg *m; (m = curl_multi_info_read(c->multi, &left)) != NULL;) {
    if (m->msg == CURLMSG_DONE) {
      char *private = NULL;
      CURLcode code = m->data.result;
      curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &private);
      finish_probe(c, (slot *)(void *)private, code);
      done++;
    }
  }
  return done;
}

bool probe_client_run(probe_client *c, const probe_target *targets, probe_result *results, size_t n,
                      bool (*stopping)(void *arg), void *arg) {
  size_t next = 0;
  size_t busy = 0;
  while (next < n || busy > 0) {
    if (stopping(arg)) {
      for (size_t i = 0; i < c->n_slots; i++) {
        release_slot(c, &c->slots[i]);
      }
      return false;
    }
    for (size_t i = 0; i < c->n_slots && next < n; i++) {
      if (!c->slots[i].busy) {
        busy += start_probe(c, &c->slots[i], &targets[next], &results[next]) ? 1 : 0;
        next++;
      }
    }
    int running = 0;
    if (curl_multi_perform(c->multi, &running) != CURLM_OK) {
      running = 0;
    }
    busy -= reap(c);
    if (busy > 0 && running > 0) {
      (void)curl_multi_poll(c->multi, NULL, 0, POLL_MS, NULL);
    }
  }
  return true;
}
