// Volumes of weights that no replica has used for long are deleted. Since when one is unused stands on the volume
// itself: no restart and no other leader forgets it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver_kube_internal.h"
#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"

enum { VOLUMES_AT_ONCE = 64, US_PER_S = 1000000 };

typedef enum volume_step { VOLUME_LEAVE, VOLUME_MARK, VOLUME_UNMARK, VOLUME_DELETE } volume_step;

typedef struct volume {
  kube_meta meta;
  volume_step step;
} volume;

static volume_step judge(bool used, int64_t unused_since_us, int64_t now_us, int64_t keep_s) {
  if (used) {
    return unused_since_us ? VOLUME_UNMARK : VOLUME_LEAVE;
  }
  if (!unused_since_us) {
    return VOLUME_MARK;
  }
  return now_us - unused_since_us > keep_s * US_PER_S ? VOLUME_DELETE : VOLUME_LEAVE;
}

static int compare_names(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// The volumes that Deployments of ours name, sorted; borrowed while the lock is held. NULL: no memory.
static const char **used_volumes(const kube_region *r, size_t *count) {
  const kube_table *t = &r->tables[KUBE_DEPLOYMENTS];
  const char **names = calloc(t->count + 1, sizeof(*names));
  size_t n = 0;
  for (const kube_entry *e = kube_table_next(t, NULL); names && e; e = kube_table_next(t, e)) {
    if (e->is.meta.ours && *e->is.deployment.volume) {
      names[n++] = e->is.deployment.volume;
    }
  }
  if (n > 0) {
    qsort(names, n, sizeof(*names), compare_names);
  }
  *count = n;
  return names;
}

// What is to be done, at most so many at a time. Nothing is concluded from what cannot be followed.
static size_t list_steps(kube_region *r, int64_t now_us, volume *out) {
  size_t n = 0;
  size_t in_use = 0;
  pthread_mutex_lock(&r->lock);
  const kube_table *t = &r->tables[KUBE_VOLUMES];
  const char **used = used_volumes(r, &in_use);
  bool known = used && eco_ok(kube_fresh(r));
  for (const kube_entry *e = kube_table_next(t, NULL); known && e && n < VOLUMES_AT_ONCE; e = kube_table_next(t, e)) {
    const kube_meta *m = &e->is.meta;
    if (!m->ours || m->deleting || strncmp(m->name, "weights-", 8) != 0) {
      continue;
    }
    const char *name = m->name;
    bool is_used = in_use && bsearch(&name, used, in_use, sizeof(*used), compare_names);
    volume_step step = judge(is_used, m->unused_since_us, now_us, r->driver->weights_keep_s);
    if (step != VOLUME_LEAVE) {
      out[n++] = (volume){.meta = *m, .step = step};
    }
  }
  pthread_mutex_unlock(&r->lock);
  free(used);
  return n;
}

static void write_step(kube_region *r, const volume *v, int64_t now_us) {
  char path[KUBE_PATH_MAX];
  char body[512];
  char stamp[ECO_RFC3339_MAX];
  kube_answer answer;
  bool deletes = v->step == VOLUME_DELETE;
  eco_rfc3339_format(now_us, stamp);
  if (deletes) {
    (void)snprintf(body, sizeof(body),
                   "{\"apiVersion\":\"v1\",\"kind\":\"DeleteOptions\",\"preconditions\":{\"uid\":\"%s\","
                   "\"resourceVersion\":\"%s\"}}",
                   v->meta.uid, v->meta.rv);
  } else {
    const char *quote = v->step == VOLUME_MARK ? "\"" : "";
    (void)snprintf(body, sizeof(body),
                   "{\"metadata\":{\"uid\":\"%s\",\"resourceVersion\":\"%s\",\"annotations\":{\"" KUBE_NOTE_UNUSED
                   "\":%s%s%s}}}",
                   v->meta.uid, v->meta.rv, quote, v->step == VOLUME_MARK ? stamp : "null", quote);
  }
  kube_path(r, KUBE_VOLUMES, v->meta.name, deletes ? "" : "fieldManager=" KUBE_MANAGER, path);
  kube_request request = {.method = deletes ? "DELETE" : "PATCH",
                          .path = path,
                          .content_type = deletes ? KUBE_JSON : KUBE_MERGE_PATCH,
                          .body = body,
                          .body_len = strlen(body),
                          .accept = KUBE_ACCEPT_METADATA,
                          .priority = KUBE_READ};  // nobody waits for it
  if (kube_call(r->client, &request, &answer) == KUBE_OK && deletes) {
    eco_log(ECO_LOG_INFO, "a volume of weights that was long unused is deleted", ECO_F_STR("region", r->name),
            ECO_F_STR("volume", v->meta.name));
  }
  ECO_CRASH_POINT("kubernetes.volume_written");
  kube_answer_free(&answer);
}

void kube_collect_volumes(kube_region *r) {
  volume steps[VOLUMES_AT_ONCE];
  const driver_host *host = &r->driver->host;
  int64_t now_us = eco_now_us();
  size_t n = list_steps(r, now_us, steps);
  for (size_t i = 0; i < n && host->may_write(host->arg, r->name); i++) {
    write_step(r, &steps[i], now_us);
  }
}

int64_t kube_collect_interval_ms(const kube_driver *d) {
  int64_t ms = d->weights_keep_s * 100;
  return ms > KUBE_COLLECT_MS ? KUBE_COLLECT_MS : ms;
}
