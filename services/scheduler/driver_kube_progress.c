// How far downloads are: a pod's status does not say, the last line of its weights' container does. The same thread
// collects volumes.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver_kube_internal.h"
#include "driver_kube_logs.h"
#include "ecolink/clock.h"

enum { ASKED_AT_ONCE = 64 };

// Of "<done> <total>"; -1: it says something else.
static int percent_of(const char *text) {
  char *end = NULL;
  errno = 0;
  long long done = strtoll(text, &end, 10);
  if (end == text || *end != ' ') {
    return -1;
  }
  const char *second = end;
  long long total = strtoll(second, &end, 10);
  if (end == second || errno != 0 || done < 0 || total <= 0 || done > total) {
    return -1;
  }
  return (int)((double)done * 100.0 / (double)total);
}

int kube_download_percent(const char *log, size_t len) {
  static const char word[] = "progress ";
  int percent = -1;
  char line[96];
  for (size_t at = 0; at < len;) {
    const char *lf = memchr(log + at, '\n', len - at);
    size_t n = lf ? (size_t)(lf - (log + at)) : len - at;
    (void)snprintf(line, sizeof(line), "%.*s", (int)(n < sizeof(line) ? n : sizeof(line) - 1), log + at);
    int told = strncmp(line, word, sizeof(word) - 1) == 0 ? percent_of(line + sizeof(word) - 1) : -1;
    percent = told >= 0 ? told : percent;
    at += n + 1;
  }
  return percent;
}

typedef struct downloading_pod {
  char name[KUBE_NAME_MAX];
  char uid[KUBE_UID_MAX];
} downloading_pod;

static size_t list_downloading(kube_region *r, downloading_pod *out) {
  size_t n = 0;
  pthread_mutex_lock(&r->lock);
  const kube_table *t = &r->tables[KUBE_PODS];
  for (const kube_entry *e = kube_table_next(t, NULL); e && n < ASKED_AT_ONCE; e = kube_table_next(t, e)) {
    const kube_pod_digest *p = &e->is.pod;
    if (p->downloading && p->meta.ours && !p->meta.deleting) {
      memcpy(out[n].name, p->meta.name, sizeof(out[n].name));
      memcpy(out[n].uid, p->meta.uid, sizeof(out[n].uid));
      n++;
    }
  }
  pthread_mutex_unlock(&r->lock);
  return n;
}

static bool note(kube_region *r, const downloading_pod *pod, int percent) {
  pthread_mutex_lock(&r->lock);
  kube_entry *e = kube_table_find(&r->tables[KUBE_PODS], pod->name);
  bool news = e && strcmp(e->is.pod.meta.uid, pod->uid) == 0 && e->is.pod.downloading && e->is.pod.percent != percent;
  if (news) {
    e->is.pod.percent = percent;
  }
  pthread_mutex_unlock(&r->lock);
  return news;
}

static bool ask(kube_region *r, const downloading_pod *pod) {
  char path[KUBE_PATH_MAX];
  char name[KUBE_NAME_MAX + 8];
  kube_answer answer;
  (void)snprintf(name, sizeof(name), "%.63s/log", pod->name);
  kube_path(r, KUBE_PODS, name, "container=" KUBE_WEIGHTS_CONTAINER "&tailLines=3", path);
  kube_request request = {.method = "GET", .path = path, .accept = "*/*", .answer_max = 64 * 1024};
  int percent = kube_call(r->client, &request, &answer) == KUBE_OK && answer.body.len
                    ? kube_download_percent(answer.body.data, answer.body.len)
                    : -1;
  kube_answer_free(&answer);
  return percent >= 0 && note(r, pod, percent);
}

void *kube_progress(void *arg) {
  kube_region *r = arg;
  downloading_pod pods[ASKED_AT_ONCE];
  int64_t collected_ms = eco_boottime_ms();
  while (kube_client_sleep(r->client, KUBE_PROGRESS_MS)) {
    if (eco_boottime_ms() - collected_ms >= kube_collect_interval_ms(r->driver)) {
      kube_collect_volumes(r);
      collected_ms = eco_boottime_ms();
    }
    bool news = false;
    size_t n = list_downloading(r, pods);
    for (size_t i = 0; i < n; i++) {
      news = ask(r, &pods[i]) || news;
    }
    if (news) {
      kube_changed(r);
    }
  }
  return NULL;
}
