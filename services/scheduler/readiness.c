// Readiness probes by libcurl's multi interface.
#include "readiness.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <yyjson.h>

#include "ecolink/buf.h"
#include "ecolink/id.h"

enum { CONNECT_TIMEOUT_MS = 1000, URL_MAX = SCHED_PATH_MAX + 128 };

typedef struct probe {
  ready_target *target;
  CURL *easy;
  struct curl_slist *headers;  // its token
  eco_buf body;
  bool asks_models;  // second request of two
  int own_errno;     // why no socket could be had
} probe;

void readiness_init(void) {
  (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

bool readiness_names_model(const char *body, size_t len, const char *served_name) {
  yyjson_doc *doc = len ? yyjson_read(body, len, 0) : NULL;
  yyjson_val *data = doc ? yyjson_obj_get(yyjson_doc_get_root(doc), "data") : NULL;
  if (!data) {
    yyjson_doc_free(doc);
    return false;
  }
  bool found = false;
  size_t i;
  size_t n;
  yyjson_val *row;
  yyjson_arr_foreach(data, i, n, row) {
    const char *id = yyjson_get_str(yyjson_obj_get(row, "id"));
    found = found || (id && strcmp(id, served_name) == 0);
  }
  yyjson_doc_free(doc);
  return found;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg) {
  probe *p = arg;
  if (!p->asks_models) {
    return size * n;
  }
  return eco_buf_append(&p->body, data, size * n) ? size * n : 0;
}

static curl_socket_t on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address) {
  (void)purpose;
  probe *p = arg;
  int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  p->own_errno = fd < 0 ? errno : 0;
  return fd < 0 ? CURL_SOCKET_BAD : fd;
}

// Whether the failure is one of this process or machine: then nothing was learnt about the replica.
static bool is_own_trouble(const probe *p, CURLcode result) {
  long code = 0;
  if (result == CURLE_OK) {
    return false;
  }
  if (p->own_errno != 0 || result == CURLE_OUT_OF_MEMORY || result == CURLE_FAILED_INIT) {
    return true;
  }
  curl_easy_getinfo(p->easy, CURLINFO_OS_ERRNO, &code);
  return result == CURLE_COULDNT_CONNECT && (code == EADDRNOTAVAIL || code == EAGAIN || code == ENOBUFS);
}

static bool aim(CURLM *multi, probe *p) {
  const ready_target *t = p->target;
  char url[URL_MAX];
  bool v6 = strchr(t->host, ':') != NULL;
  snprintf(url, sizeof(url), "http://%s%s%s:%d%s", v6 ? "[" : "", t->host, v6 ? "]" : "", t->port,
           p->asks_models ? "/v1/models" : t->health_path);
  p->easy = curl_easy_init();
  if (!p->easy) {
    return false;
  }
  curl_easy_setopt(p->easy, CURLOPT_URL, url);
  curl_easy_setopt(p->easy, CURLOPT_PRIVATE, p);
  curl_easy_setopt(p->easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(p->easy, CURLOPT_PROXY, "");
  curl_easy_setopt(p->easy, CURLOPT_PROTOCOLS_STR, "http");
  curl_easy_setopt(p->easy, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(p->easy, CURLOPT_USERAGENT, "ecolink-scheduler/" ECO_VERSION);
  curl_easy_setopt(p->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
  curl_easy_setopt(p->easy, CURLOPT_TIMEOUT_MS, (long)SCHED_READY_TIMEOUT_MS);
  curl_easy_setopt(p->easy, CURLOPT_FRESH_CONNECT, 1L);
  curl_easy_setopt(p->easy, CURLOPT_FORBID_REUSE, 1L);
  curl_easy_setopt(p->easy, CURLOPT_OPENSOCKETFUNCTION, on_socket);
  curl_easy_setopt(p->easy, CURLOPT_OPENSOCKETDATA, p);
  curl_easy_setopt(p->easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(p->easy, CURLOPT_WRITEDATA, p);
  if (t->token && *t->token) {
    char header[ECO_ID_MAX + 32];
    (void)snprintf(header, sizeof(header), "Authorization: Bearer %s", t->token);
    p->headers = p->headers ? p->headers : curl_slist_append(NULL, header);
    if (!p->headers || curl_easy_setopt(p->easy, CURLOPT_HTTPHEADER, p->headers) != CURLE_OK) {
      return false;
    }
  }
  return curl_multi_add_handle(multi, p->easy) == CURLM_OK;
}

__attribute__((format(printf, 2, 3))) static void say(ready_target *t, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(t->detail, sizeof(t->detail), fmt, ap);
  va_end(ap);
}

// True: a second request goes out.
static bool conclude(probe *p, CURLcode result) {
  ready_target *t = p->target;
  long status = 0;
  curl_easy_getinfo(p->easy, CURLINFO_RESPONSE_CODE, &status);
  t->unknown = is_own_trouble(p, result);
  t->silent = result == CURLE_OPERATION_TIMEDOUT;
  if (t->unknown) {
    say(t, "its health could not be asked");
  } else if (result == CURLE_COULDNT_CONNECT) {
    say(t, "loading, not listening yet");
  } else if (result != CURLE_OK) {
    say(t, "its health check failed: %s", curl_easy_strerror(result));
  } else if (status < 200 || status > 399) {
    say(t, "loading, %s answers %ld", p->asks_models ? "/v1/models" : "its health check", status);
  } else if (!p->asks_models && t->served_name) {
    return true;
  } else if (p->asks_models && !readiness_names_model(p->body.data, p->body.len, t->served_name)) {
    say(t, "it answers, but not under the name %.100s", t->served_name);
  } else {
    t->ready = true;
    t->detail[0] = '\0';
  }
  return false;
}

static void drop(CURLM *multi, probe *p) {
  if (p->easy) {
    curl_multi_remove_handle(multi, p->easy);
    curl_easy_cleanup(p->easy);
    p->easy = NULL;
  }
  curl_slist_free_all(p->headers);
  p->headers = NULL;
}

// Handles what ended. Returns how many targets are done for good.
static size_t reap(CURLM *multi) {
  size_t done = 0;
  int left = 0;
  CURLMsg *msg;
  while ((msg = curl_multi_info_read(multi, &left))) {
    if (msg->msg != CURLMSG_DONE) {
      continue;
    }
    probe *p = NULL;
    curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&p);
    bool again = conclude(p, msg->data.result);
    drop(multi, p);
    if (again) {
      p->asks_models = true;
      again = aim(multi, p);
      p->target->unknown = !again;
    }
    if (!again) {
      drop(multi, p);
      done++;
    }
  }
  return done;
}

void readiness_probe(ready_target *targets, size_t count) {
  CURLM *multi = count ? curl_multi_init() : NULL;
  probe *probes = count ? calloc(count, sizeof(*probes)) : NULL;
  for (size_t i = 0; i < count; i++) {
    targets[i].ready = false;
    targets[i].unknown = true;
    targets[i].silent = false;
    say(&targets[i], "its health could not be asked");
  }
  size_t begun = 0;
  size_t done = 0;
  while (multi && probes && done < count) {
    for (; begun < count && begun - done < SCHED_READY_PARALLEL; begun++) {
      probes[begun].target = &targets[begun];
      eco_buf_init(&probes[begun].body, SCHED_READY_BODY_MAX);
      if (!aim(multi, &probes[begun])) {
        drop(multi, &probes[begun]);
        done++;
      }
    }
    int running = 0;
    if (curl_multi_perform(multi, &running) != CURLM_OK) {
      break;
    }
    done += reap(multi);
    if (done < count) {
      (void)curl_multi_poll(multi, NULL, 0, 100, NULL);
    }
  }
  for (size_t i = 0; probes && i < begun; i++) {
    drop(multi, &probes[i]);
    eco_buf_free(&probes[i].body);
  }
  free(probes);
  if (multi) {
    curl_multi_cleanup(multi);
  }
}
