// Lists and watches.
//
//   list:  page, page, ... (limit/continue); a 410 between pages starts anew, once
//   watch: one JSON object a line for as long as the server likes; bookmarks move the position on
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "kube_client_internal.h"

enum { POLL_MS = 500 };

static const char *text_at(yyjson_val *object, const char *key) {
  const char *s = yyjson_get_str(yyjson_obj_get(object, key));
  return s ? s : "";
}

static bool take_version(yyjson_val *metadata, char out[KUBE_RV_MAX]) {
  const char *rv = text_at(metadata, "resourceVersion");
  if (!*rv || strlen(rv) >= KUBE_RV_MAX) {
    return false;
  }
  (void)snprintf(out, KUBE_RV_MAX, "%s", rv);
  return true;
}

static kube_reason garbage(kube_problem *problem, const char *what) {
  *problem = (kube_problem){.reason = KUBE_GARBAGE};
  (void)snprintf(problem->message, sizeof(problem->message), "%s", what);
  return KUBE_GARBAGE;
}

// ---- lists ----
typedef struct paging {
  kube_client *client;
  const char *path;
  const char *accept;
  eco_buf next;  // the continue token; empty: the first page
  char *resource_version;
  kube_problem *problem;
} paging;

static kube_reason read_page(paging *p, const char *body, size_t len, const kube_list_fns *fns, void *arg) {
  yyjson_doc *doc = yyjson_read(body, len, 0);
  yyjson_val *root = doc ? yyjson_doc_get_root(doc) : NULL;
  yyjson_val *metadata = yyjson_obj_get(root, "metadata");
  yyjson_val *items = yyjson_obj_get(root, "items");
  const char *next = text_at(metadata, "continue");
  kube_reason reason = KUBE_OK;
  if (!take_version(metadata, p->resource_version) || (items && !yyjson_is_arr(items) && !yyjson_is_null(items))) {
    reason = garbage(p->problem, "the list has no resourceVersion or no items");
  }
  eco_buf_reset(&p->next);
  if (reason == KUBE_OK && !eco_buf_puts(&p->next, next)) {
    reason = garbage(p->problem, "the list's continue token is too long");
  }
  size_t i;
  size_t n;
  yyjson_val *object;
  if (reason == KUBE_OK) {
    yyjson_arr_foreach(items, i, n, object) {
      fns->item(arg, object);
    }
  }
  yyjson_doc_free(doc);
  return reason;
}

static kube_reason fetch_page(paging *p, const kube_list_fns *fns, void *arg) {
  eco_buf path;
  kube_answer answer;
  eco_buf_init(&path, 16384);
  bool ok = eco_buf_printf(&path, "%s%climit=%d", p->path, strchr(p->path, '?') ? '&' : '?', KUBE_PAGE);
  ok = ok && (p->next.len == 0 || (eco_buf_puts(&path, "&continue=") && kube_escape(&path, p->next.data)));
  kube_request request = {.method = "GET",
                          .path = path.data,
                          .accept = p->accept,
                          .timeout_ms = KUBE_LIST_TIMEOUT_MS,
                          .answer_max = KUBE_LIST_BYTES_MAX};
  kube_reason reason = ok ? kube_call(p->client, &request, &answer) : garbage(p->problem, "the path is too long");
  if (ok) {
    *p->problem = answer.problem;
    if (reason == KUBE_OK) {
      reason = read_page(p, answer.body.data, answer.body.len, fns, arg);
    }
    kube_answer_free(&answer);
  }
  eco_buf_free(&path);
  return reason;
}

kube_reason kube_list(kube_client *client, const char *path, const char *accept, const kube_list_fns *fns, void *arg,
                      char resource_version[KUBE_RV_MAX], kube_problem *problem) {
  paging p = {
      .client = client, .path = path, .accept = accept, .resource_version = resource_version, .problem = problem};
  kube_reason reason = KUBE_OK;
  bool again = true;
  eco_buf_init(&p.next, 8192);
  fns->begin(arg);
  int pages = 0;
  do {
    reason = fetch_page(&p, fns, arg);
    if (reason == KUBE_GONE && p.next.len > 0 && again) {
      again = false;
      eco_buf_reset(&p.next);
      fns->begin(arg);
      reason = fetch_page(&p, fns, arg);
    }
  } while (reason == KUBE_OK && p.next.len > 0 && ++pages < KUBE_PAGES_MAX);
  if (reason == KUBE_OK && p.next.len > 0) {
    reason = garbage(problem, "the list does not end");
  }
  eco_buf_free(&p.next);
  return reason;
}

// ---- watches ----
typedef struct stream {
  kube_client *client;
  const kube_watch_fns *fns;
  void *arg;
  char *resource_version;
  kube_problem *problem;
  CURL *easy;
  eco_buf line;
  int64_t heard_ms;
  bool begun;         // the server agreed to the watch
  kube_reason ended;  // KUBE_OK: goes on
  int retry_after_s;
} stream;

static void on_object(stream *s, const char *type, yyjson_val *object) {
  static const struct {
    const char *word;
    kube_event event;
  } words[] = {
      {"ADDED", KUBE_ADDED}, {"MODIFIED", KUBE_MODIFIED}, {"DELETED", KUBE_DELETED}, {"BOOKMARK", KUBE_BOOKMARK}};
  for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
    if (strcmp(type, words[i].word) == 0) {
      if (!take_version(yyjson_obj_get(object, "metadata"), s->resource_version)) {
        s->ended = garbage(s->problem, "a watched object has no resourceVersion");
        return;
      }
      s->fns->event(s->arg, words[i].event, object);
      return;
    }
  }
  s->ended = garbage(s->problem, "an event of unknown type was watched");
}

static void on_line(stream *s) {
  yyjson_doc *doc = yyjson_read(s->line.data, s->line.len, 0);
  yyjson_val *root = doc ? yyjson_doc_get_root(doc) : NULL;
  yyjson_val *object = yyjson_obj_get(root, "object");
  const char *type = text_at(root, "type");
  if (!object) {
    s->ended = garbage(s->problem, "a watched line is no event");
  } else if (strcmp(type, "ERROR") == 0) {
    size_t len = 0;
    char *body = yyjson_val_write(object, 0, &len);
    int code = (int)yyjson_get_sint(yyjson_obj_get(object, "code"));
    kube_problem_read(code ? code : 500, body, body ? len : 0, 0, s->problem);
    s->ended = s->problem->reason;
    free(body);
  } else {
    on_object(s, type, object);
  }
  yyjson_doc_free(doc);
}

static size_t on_data(char *data, size_t size, size_t n, void *arg) {
  stream *s = arg;
  size_t len = size * n;
  long http = 0;
  curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &http);
  s->heard_ms = eco_boottime_ms();
  if (http == 200) {
    s->fns->alive(s->arg);
  }
  for (size_t at = 0; at < len && s->ended == KUBE_OK;) {
    const char *lf = http == 200 ? memchr(data + at, '\n', len - at) : NULL;
    size_t part = lf ? (size_t)(lf - (data + at)) : len - at;
    if (!eco_buf_append(&s->line, data + at, part)) {
      *s->problem = (kube_problem){.reason = KUBE_TOO_LARGE, .message = "a watched object is too long"};
      s->ended = KUBE_TOO_LARGE;
      break;
    }
    at += part + (lf ? 1 : 0);
    if (lf && s->line.len > 0) {
      on_line(s);
      eco_buf_reset(&s->line);
    }
  }
  return s->ended == KUBE_OK ? len : 0;
}

static struct curl_slist *watch_headers(kube_client *c, const char *accept) {
  char line[256];
  (void)snprintf(line, sizeof(line), "Accept: %s", accept ? accept : KUBE_JSON);
  return kube_authorize(c, curl_slist_append(NULL, line), false);
}

static bool set_watch(stream *s, const char *path) {
  eco_buf url;
  eco_buf_init(&url, 8192);
  uint32_t seconds = KUBE_WATCH_TIMEOUT_S + kube_client_chance(s->client) % KUBE_WATCH_TIMEOUT_S;
  bool ok = eco_buf_printf(&url, "%s%cwatch=1&allowWatchBookmarks=true&timeoutSeconds=%u&resourceVersion=", path,
                           strchr(path, '?') ? '&' : '?', seconds) &&
            kube_escape(&url, s->resource_version) && kube_handle_aim(s->client, s->easy, url.data);
  eco_buf_free(&url);
  curl_easy_setopt(s->easy, CURLOPT_HTTPGET, 1L);
  curl_easy_setopt(s->easy, CURLOPT_CUSTOMREQUEST, NULL);
  curl_easy_setopt(s->easy, CURLOPT_TIMEOUT_MS, (long)(seconds + 60) * 1000L);
  // a watch is a stream of small objects: decompression would only hold them back
  curl_easy_setopt(s->easy, CURLOPT_ACCEPT_ENCODING, NULL);
  curl_easy_setopt(s->easy, CURLOPT_WRITEFUNCTION, on_data);
  curl_easy_setopt(s->easy, CURLOPT_WRITEDATA, s);
  return ok;
}

static kube_reason conclude(stream *s, CURLcode result, bool stalled) {
  long http = 0;
  curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &http);
  if (s->ended != KUBE_OK) {
    return s->ended;
  }
  if (kube_client_stopped(s->client)) {
    kube_problem_of_transfer(s->easy, CURLE_ABORTED_BY_CALLBACK, true, s->problem);
  } else if (stalled) {
    *s->problem = (kube_problem){.reason = KUBE_TIMEOUT, .message = "the watch said nothing for too long"};
  } else if (http != 0 && http != 200) {
    kube_problem_read((int)http, s->line.data, s->line.len, 0, s->problem);
  } else if (result != CURLE_OK) {
    kube_problem_of_transfer(s->easy, result, false, s->problem);
  } else {
    *s->problem = (kube_problem){.reason = KUBE_OK};
  }
  return s->problem->reason;
}

// The first sign of life is the status line: an idle watch brings nothing else for a minute.
static void note_begin(stream *s) {
  long http = 0;
  curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &http);
  if (!s->begun && http == 200) {
    s->begun = true;
    s->fns->alive(s->arg);
  }
}

static kube_reason run_watch(stream *s, CURLM *multi) {
  CURLcode result = CURLE_OK;
  bool stalled = false;
  bool done = false;
  while (!done && !stalled && !kube_client_stopped(s->client)) {
    int running = 0;
    int left = 0;
    if (curl_multi_perform(multi, &running) != CURLM_OK) {
      result = CURLE_FAILED_INIT;
      break;
    }
    note_begin(s);
    for (CURLMsg *msg; (msg = curl_multi_info_read(multi, &left));) {
      done = done || msg->msg == CURLMSG_DONE;
      result = msg->msg == CURLMSG_DONE ? msg->data.result : result;
    }
    stalled = !done && eco_boottime_ms() - s->heard_ms > s->client->watch_idle_ms;
    if (!done && s->ended == KUBE_OK && s->fns->go_on && !s->fns->go_on(s->arg)) {
      *s->problem = (kube_problem){.reason = KUBE_GONE, .message = "the position is void"};
      s->ended = KUBE_GONE;
      break;
    }
    if (!done && !stalled) {
      (void)curl_multi_poll(multi, NULL, 0, POLL_MS, NULL);
    }
  }
  return conclude(s, result, stalled);
}

kube_reason kube_watch(kube_client *client, const char *path, const char *accept, const kube_watch_fns *fns, void *arg,
                       char resource_version[KUBE_RV_MAX], kube_problem *problem) {
  stream s = {.client = client,
              .fns = fns,
              .arg = arg,
              .resource_version = resource_version,
              .problem = problem,
              .heard_ms = eco_boottime_ms()};
  *problem = (kube_problem){.reason = KUBE_UNREACHABLE, .message = "no request could be made"};
  CURLM *multi = curl_multi_init();
  s.easy = multi ? kube_handle_new(client) : NULL;  // its connection is the stream's alone
  struct curl_slist *headers = s.easy ? watch_headers(client, accept) : NULL;
  eco_buf_init(&s.line, KUBE_EVENT_BYTES_MAX);
  if (headers && set_watch(&s, path)) {
    curl_easy_setopt(s.easy, CURLOPT_HTTPHEADER, headers);
    if (curl_multi_add_handle(multi, s.easy) == CURLM_OK) {
      (void)run_watch(&s, multi);
      curl_multi_remove_handle(multi, s.easy);
    }
  }
  curl_easy_cleanup(s.easy);
  kube_headers_free(headers);
  eco_buf_free(&s.line);
  curl_multi_cleanup(multi);
  return problem->reason;
}
