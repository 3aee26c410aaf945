// The Kubernetes driver's memory of what exists.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver_kube_internal.h"
#include "ecolink/clock.h"

enum { US_PER_MS = 1000 };

// ---- objects ----
static bool read_entry(kube_region *r, kube_kind kind, yyjson_val *object, const kube_entry *before, kube_entry *out) {
  const char *installation = r->driver->installation;
  int64_t now_us = eco_now_us();
  // one clock is read after the other: what lies between is no shift
  int64_t shift_us = (now_us - eco_wall_us() + US_PER_MS / 2) / US_PER_MS * US_PER_MS;
  switch (kind) {
    case KUBE_DEPLOYMENTS:
      return kube_deployment_read(object, installation, &out->is.deployment);
    case KUBE_PODS:
      return kube_pod_read(object, installation, before ? &before->is.pod : NULL, shift_us, now_us, &out->is.pod);
    case KUBE_SERVICES:
      return kube_service_read(object, installation, &out->is.service);
    case KUBE_NODES:
      return kube_node_read(object, r->place.gpu_label, r->place.gpu_resource, &out->is.node);
    case KUBE_OTHER_PODS:
      return kube_meta_read(object, installation, &out->is.other.meta) &&
             kube_pod_gpus(object, r->place.gpu_resource, out->is.other.node, &out->is.other.gpus);
    default:
      return kube_meta_read(object, installation, &out->is.meta);
  }
}

static void key_of(kube_kind kind, yyjson_val *object, char out[320]) {
  yyjson_val *metadata = yyjson_obj_get(object, "metadata");
  const char *name = yyjson_get_str(yyjson_obj_get(metadata, "name"));
  const char *space = yyjson_get_str(yyjson_obj_get(metadata, "namespace"));
  bool qualified = kind == KUBE_OTHER_PODS;
  (void)snprintf(out, 320, "%s%s%s", qualified && space ? space : "", qualified ? "/" : "", name ? name : "");
}

// Older than what is known: an event that was on its way while our own write was answered.
static bool is_older(kube_kind kind, const kube_entry *known, const kube_entry *fresh) {
  bool comparable = false;
  return kind != KUBE_NODES && known && kube_rv_compare(fresh->is.meta.rv, known->is.meta.rv, &comparable) < 0 &&
         comparable;
}

// Whether it is the same in everything that is read of it, its version apart. As bytes: gaps are zero (kube_remember),
// and where they were not, it only seems to be another.
static bool same(const kube_entry *known, const kube_entry *fresh) {
  kube_entry before = *known;
  memcpy(before.is.meta.rv, fresh->is.meta.rv, sizeof(before.is.meta.rv));
  const unsigned char *a = (const unsigned char *)&before.is;
  const unsigned char *b = (const unsigned char *)&fresh->is;
  return memcmp(a, b, sizeof(before.is)) == 0;
}

bool kube_remember(kube_region *r, kube_kind kind, yyjson_val *object, bool deleted) {
  kube_table *t = &r->tables[kind];
  char key[320];
  kube_entry fresh;
  memset(&fresh, 0, sizeof(fresh));  // its gaps, too: it is compared as a whole
  key_of(kind, object, key);
  kube_entry *known = kube_table_find(t, key);
  bool holds = !deleted && read_entry(r, kind, object, known, &fresh);
  if (!holds) {
    if (known && deleted && kind != KUBE_NODES) {
      kube_meta gone;
      // a later object of the same name may be known already from our own create
      if (kube_meta_read(object, r->driver->installation, &gone) && strcmp(gone.uid, known->is.meta.uid) != 0) {
        return false;
      }
    }
    kube_table_drop(t, key);
    return known != NULL;
  }
  if (known && known->listed == t->list && is_older(kind, known, &fresh)) {
    return false;
  }
  bool news = !known || kind == KUBE_NODES || !same(known, &fresh);
  kube_entry *e = kube_table_put(t, key);
  if (e) {
    memcpy(&e->is, &fresh.is, sizeof(e->is));
  }
  return news;
}

void kube_remember_answer(kube_region *r, kube_kind kind, yyjson_val *object) {
  char key[320];
  bool comparable = false;
  key_of(kind, object, key);
  const char *rv = yyjson_get_str(yyjson_obj_get(yyjson_obj_get(object, "metadata"), "resourceVersion"));
  bool passed = rv && kube_rv_compare(rv, r->reflectors[kind].seen_rv, &comparable) <= 0 && comparable;
  if (passed && !kube_table_find(&r->tables[kind], key)) {
    return;  // made and gone again before its answer came
  }
  (void)kube_remember(r, kind, object, false);
}

// ---- strays ----
bool kube_is_stray(const kube_meta *meta) {
  char name[KUBE_NAME_MAX];
  kube_replica_name(meta->instance_id, meta->replica_id, name);
  return strcmp(meta->name, name) != 0;
}

bool kube_find_stray(const kube_region *r, kube_kind kind, int64_t instance_id, int replica_id,
                     char name[KUBE_NAME_MAX]) {
  const kube_table *t = &r->tables[kind];
  for (const kube_entry *e = kube_table_next(t, NULL); e; e = kube_table_next(t, e)) {
    const kube_meta *m = &e->is.meta;
    bool same = m->ours && m->instance_id == instance_id && m->replica_id == replica_id;
    if (same && !m->deleting && kube_is_stray(m)) {
      (void)snprintf(name, KUBE_NAME_MAX, "%s", m->name);
      return true;
    }
  }
  return false;
}

bool kube_has_stray(const kube_region *r, int64_t instance_id, int replica_id) {
  char name[KUBE_NAME_MAX];
  return kube_find_stray(r, KUBE_DEPLOYMENTS, instance_id, replica_id, name) ||
         kube_find_stray(r, KUBE_SECRETS, instance_id, replica_id, name) ||
         kube_find_stray(r, KUBE_SERVICES, instance_id, replica_id, name);
}

// ---- views ----
static const kube_entry *own(const kube_region *r, kube_kind kind, const char *name, int64_t instance_id,
                             int replica_id) {
  const kube_entry *e = kube_table_find(&r->tables[kind], name);
  bool ours = e && e->is.meta.ours && e->is.meta.instance_id == instance_id && e->is.meta.replica_id == replica_id;
  return ours ? e : NULL;
}

kube_view kube_view_of(kube_region *r, int64_t instance_id, int replica_id, const kube_pod_digest **pods) {
  kube_view v = {.instance_id = instance_id, .replica_id = replica_id, .pods = pods};
  char name[KUBE_NAME_MAX];
  kube_replica_name(instance_id, replica_id, name);
  const kube_entry *d = own(r, KUBE_DEPLOYMENTS, name, instance_id, replica_id);
  const kube_entry *secret = own(r, KUBE_SECRETS, name, instance_id, replica_id);
  const kube_entry *service = own(r, KUBE_SERVICES, name, instance_id, replica_id);
  v.deployment = d ? &d->is.deployment : NULL;
  v.secret = secret ? &secret->is.meta : NULL;
  v.service = service ? &service->is.service : NULL;
  v.volume_there = d && *d->is.deployment.volume && kube_table_find(&r->tables[KUBE_VOLUMES], d->is.deployment.volume);
  return v;
}
