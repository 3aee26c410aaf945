// Reading digests.
#include "kube_digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "kube_objects.h"
#include "scheduler_limits.h"

static yyjson_val *get(yyjson_val *object, const char *key) {
  return yyjson_obj_get(object, key);
}

static const char *text(yyjson_val *object, const char *key) {
  const char *s = yyjson_get_str(get(object, key));
  return s ? s : "";
}

static void copy(char *out, size_t cap, const char *s) {
  size_t n = 0;
  for (; s[n] && n + 1 < cap; n++) {
    out[n] = s[n] >= ' ' && s[n] < 0x7f ? s[n] : ' ';
  }
  out[n] = '\0';
}

static bool copy_whole(char *out, size_t cap, const char *s) {
  copy(out, cap, s);
  return *s && strlen(s) < cap;
}

static int64_t number(const char *s) {
  char *end = NULL;
  int64_t n = strtoll(s, &end, 10);
  return *s && !*end && n > 0 ? n : 0;
}

static int64_t time_of(const char *s, int64_t shift_us) {
  int64_t us = 0;
  return *s && eco_rfc3339_parse(s, &us) == 0 ? us + shift_us : 0;
}

// ---- metadata ----
// Status is written by controllers through a subresource; a volume's binding by the controller manager.
static bool is_controller(const char *manager) {
  return strcmp(manager, "kube-controller-manager") == 0 || strcmp(manager, "kube-scheduler") == 0;
}

static void read_managers(yyjson_val *metadata, kube_meta *out) {
  size_t i;
  size_t n;
  yyjson_val *entry;
  out->created_entry = -1;
  yyjson_arr_foreach(get(metadata, "managedFields"), i, n, entry) {
    const char *manager = text(entry, "manager");
    yyjson_val *fields = get(entry, "fieldsV1");
    bool ours = strcmp(manager, KUBE_MANAGER) == 0;
    if (*text(entry, "subresource") || is_controller(manager)) {
      continue;
    }
    if (ours && strcmp(text(entry, "operation"), "Update") == 0) {
      out->created_entry = (int)i;
    }
    bool content =
        get(fields, "f:spec") || get(fields, "f:data") || get(fields, "f:stringData") || get(fields, "f:type");
    out->edited = out->edited || (!ours && content);
  }
}

bool kube_meta_read(yyjson_val *object, const char *installation, kube_meta *out) {
  yyjson_val *metadata = get(object, "metadata");
  yyjson_val *labels = get(metadata, "labels");
  *out = (kube_meta){0};
  bool whole = copy_whole(out->name, sizeof(out->name), text(metadata, "name")) &&
               copy_whole(out->uid, sizeof(out->uid), text(metadata, "uid")) &&
               copy_whole(out->rv, sizeof(out->rv), text(metadata, "resourceVersion"));
  out->ours = strcmp(text(labels, KUBE_LABEL_INSTALLATION), installation) == 0;
  out->instance_id = number(text(labels, KUBE_LABEL_INSTANCE));
  out->replica_id = (int)number(text(labels, KUBE_LABEL_REPLICA));
  out->generation = number(text(get(metadata, "annotations"), KUBE_NOTE_GENERATION));
  out->unused_since_us = time_of(text(get(metadata, "annotations"), KUBE_NOTE_UNUSED), 0);
  out->deleting = *text(metadata, "deletionTimestamp") != '\0';
  read_managers(metadata, out);
  return whole;
}

// ---- Deployment ----
bool kube_deployment_read(yyjson_val *object, const char *installation, kube_deployment_digest *out) {
  size_t i;
  size_t n;
  yyjson_val *condition;
  *out = (kube_deployment_digest){0};
  bool whole = kube_meta_read(object, installation, &out->meta);
  yyjson_val *notes = get(get(object, "metadata"), "annotations");
  out->has_secret = strcmp(text(notes, KUBE_NOTE_SECRET), "true") == 0;
  copy(out->volume, sizeof(out->volume), text(notes, KUBE_NOTE_VOLUME));
  yyjson_arr_foreach(get(get(object, "status"), "conditions"), i, n, condition) {
    if (strcmp(text(condition, "type"), "ReplicaFailure") == 0 && strcmp(text(condition, "status"), "True") == 0) {
      copy(out->trouble, sizeof(out->trouble), text(condition, "message"));
    }
  }
  return whole;
}

// ---- Pod ----
static void read_conditions(yyjson_val *status, int64_t shift_us, kube_pod_digest *out) {
  size_t i;
  size_t n;
  yyjson_val *c;
  yyjson_arr_foreach(get(status, "conditions"), i, n, c) {
    const char *type = text(c, "type");
    bool yes = strcmp(text(c, "status"), "True") == 0;
    if (strcmp(type, "Ready") == 0) {
      out->ready = yes;
      out->ready_since_us = time_of(text(c, "lastTransitionTime"), shift_us);
    } else if (strcmp(type, "PodScheduled") == 0) {
      out->scheduled = yes;
      if (!yes) {
        copy(out->reason, sizeof(out->reason), text(c, "reason"));
        copy(out->words, sizeof(out->words), text(c, "message"));
      }
    }
  }
}

static void read_last_exit(yyjson_val *terminated, int64_t shift_us, kube_pod_digest *out, int64_t *at_us) {
  if (!terminated) {
    return;
  }
  out->exit_code = (int)yyjson_get_sint(get(terminated, "exitCode"));
  copy(out->exit_reason, sizeof(out->exit_reason), text(terminated, "reason"));
  *at_us = time_of(text(terminated, "finishedAt"), shift_us);
}

// State, restarts and the last exit of the engine's container.
static void read_container(yyjson_val *c, int64_t shift_us, kube_pod_digest *out, int64_t *exit_us) {
  yyjson_val *state = get(c, "state");
  yyjson_val *waiting = get(state, "waiting");
  yyjson_val *terminated = get(state, "terminated");
  out->restarts = (int)yyjson_get_sint(get(c, "restartCount"));
  out->exit_count = out->restarts;
  read_last_exit(get(get(c, "lastState"), "terminated"), shift_us, out, exit_us);
  if (terminated) {
    out->state = KUBE_POD_TERMINATED;
    out->exit_count++;
    read_last_exit(terminated, shift_us, out, exit_us);
    copy(out->reason, sizeof(out->reason), text(terminated, "reason"));
    copy(out->words, sizeof(out->words), text(terminated, "message"));
  } else if (get(state, "running")) {
    out->state = KUBE_POD_RUNNING;
  } else if (waiting) {
    copy(out->reason, sizeof(out->reason), text(waiting, "reason"));
    copy(out->words, sizeof(out->words), text(waiting, "message"));
    out->exit_count += strcmp(out->reason, "CrashLoopBackOff") == 0;  // it has ended, its restart is still to come
  }
}

// Kubernetes tells the last exit alone, by the second. Those before are known from what was seen before; of a pod seen
// for the first time they all lie between its creation and the last one. What falls together is told apart by
// microseconds.
static void count_exits(const kube_pod_digest *before, int64_t last_us, int64_t now_us, kube_pod_digest *out) {
  bool known = before && strcmp(before->meta.uid, out->meta.uid) == 0;
  if (known) {
    memcpy(out->exits_us, before->exits_us, sizeof(out->exits_us));
  }
  int fresh = out->exit_count - (known ? before->exit_count : 0);
  last_us = last_us == 0 || last_us > now_us ? now_us : last_us;
  if (!known && fresh > 1 && last_us - out->created_us > SCHED_CRASH_LOOP_WINDOW_US) {
    fresh = 1;
  }
  for (int k = fresh < REPLICA_EXITS_KEPT ? fresh : REPLICA_EXITS_KEPT; k > 0; k--) {
    memmove(out->exits_us + 1, out->exits_us, sizeof(out->exits_us) - sizeof(out->exits_us[0]));
    int64_t at_us = last_us - (k - 1);
    out->exits_us[0] = at_us > out->exits_us[1] ? at_us : out->exits_us[1] + 1;
  }
}

// Its message is the end of its log: progress, tries, and at last why it gave up, after the program's name.
static const char *last_words(const char *message) {
  static const char name[] = "ecolink-weights: ";
  const char *found = message;
  for (const char *at = strstr(message, name); at; at = strstr(found, name)) {
    found = at + sizeof(name) - 1;
  }
  return found;
}

// Of the container that brings the weights: its troubles are the pod's until it is done.
static void read_download(yyjson_val *c, kube_pod_digest *out) {
  yyjson_val *state = get(c, "state");
  yyjson_val *waiting = get(state, "waiting");
  yyjson_val *last = get(get(c, "lastState"), "terminated");
  yyjson_val *terminated = get(state, "terminated");
  if (terminated && yyjson_get_sint(get(terminated, "exitCode")) == 0) {
    return;
  }
  out->downloading = get(state, "running") != NULL;
  copy(out->reason, sizeof(out->reason), text(waiting, "reason"));
  copy(out->words, sizeof(out->words), text(waiting, "message"));
  if (terminated || last) {
    copy(out->reason, sizeof(out->reason), KUBE_DOWNLOAD_FAILED);
    copy(out->words, sizeof(out->words), last_words(text(terminated ? terminated : last, "message")));
  }
}

bool kube_pod_read(yyjson_val *object, const char *installation, const kube_pod_digest *before, int64_t shift_us,
                   int64_t now_us, kube_pod_digest *out) {
  *out = (kube_pod_digest){0};
  yyjson_val *metadata = get(object, "metadata");
  yyjson_val *status = get(object, "status");
  const char *phase = text(status, "phase");
  int64_t exit_us = 0;
  size_t i;
  size_t n;
  yyjson_val *c;
  bool whole = kube_meta_read(object, installation, &out->meta);
  out->created_us = time_of(text(metadata, "creationTimestamp"), shift_us);
  out->port = (int)number(text(get(metadata, "annotations"), KUBE_NOTE_PORT));
  copy(out->ip, sizeof(out->ip), text(status, "podIP"));
  copy(out->host_ip, sizeof(out->host_ip), text(status, "hostIP"));
  read_conditions(status, shift_us, out);
  yyjson_arr_foreach(get(status, "containerStatuses"), i, n, c) {
    if (strcmp(text(c, "name"), KUBE_CONTAINER) == 0) {
      read_container(c, shift_us, out, &exit_us);
    }
  }
  yyjson_arr_foreach(get(status, "initContainerStatuses"), i, n, c) {
    if (strcmp(text(c, "name"), KUBE_WEIGHTS_CONTAINER) == 0) {
      read_download(c, out);
    }
  }
  bool known = before && strcmp(before->meta.uid, out->meta.uid) == 0;
  out->percent = known && before->downloading && out->downloading ? before->percent : -1;
  if (strcmp(phase, "Failed") == 0 || strcmp(phase, "Succeeded") == 0) {
    out->ended = true;  // evicted, or its node shut down
    out->exit_count += out->state != KUBE_POD_TERMINATED;
    out->state = KUBE_POD_TERMINATED;
    if (*text(status, "reason")) {
      copy(out->reason, sizeof(out->reason), text(status, "reason"));
      copy(out->words, sizeof(out->words), text(status, "message"));
    }
  }
  count_exits(before, exit_us, now_us, out);
  return whole;
}

// ---- Service ----
bool kube_service_read(yyjson_val *object, const char *installation, kube_service_digest *out) {
  *out = (kube_service_digest){0};
  bool whole = kube_meta_read(object, installation, &out->meta);
  yyjson_val *port = yyjson_arr_get_first(get(get(object, "spec"), "ports"));
  yyjson_val *ingress = yyjson_arr_get_first(get(get(get(object, "status"), "loadBalancer"), "ingress"));
  copy(out->type, sizeof(out->type), text(get(object, "spec"), "type"));
  out->node_port = (int)yyjson_get_sint(get(port, "nodePort"));
  copy(out->ingress, sizeof(out->ingress), *text(ingress, "ip") ? text(ingress, "ip") : text(ingress, "hostname"));
  return whole;
}

// ---- capacity ----
static int count_of(yyjson_val *quantities, const char *resource) {
  yyjson_val *v = get(quantities, resource);
  return yyjson_is_str(v) ? (int)number(yyjson_get_str(v)) : (int)yyjson_get_sint(v);
}

bool kube_node_read(yyjson_val *object, const char *gpu_label, const char *gpu_resource, kube_node_digest *out) {
  size_t i;
  size_t n;
  yyjson_val *c;
  yyjson_val *metadata = get(object, "metadata");
  *out = (kube_node_digest){0};
  bool whole = copy_whole(out->name, sizeof(out->name), text(metadata, "name"));
  copy(out->gpu_value, sizeof(out->gpu_value), text(get(metadata, "labels"), gpu_label));
  bool ready = false;
  yyjson_arr_foreach(get(get(object, "status"), "conditions"), i, n, c) {
    ready = ready || (strcmp(text(c, "type"), "Ready") == 0 && strcmp(text(c, "status"), "True") == 0);
  }
  bool open = ready && !yyjson_get_bool(get(get(object, "spec"), "unschedulable"));
  out->gpus = open ? count_of(get(get(object, "status"), "allocatable"), gpu_resource) : 0;
  return whole;
}

bool kube_pod_gpus(yyjson_val *object, const char *gpu_resource, char node[256], int *gpus) {
  static const char *const lists[] = {"containers", "initContainers"};
  yyjson_val *spec = get(object, "spec");
  const char *phase = text(get(object, "status"), "phase");
  size_t i;
  size_t n;
  yyjson_val *c;
  int together = 0;
  int largest = 0;
  for (size_t k = 0; k < 2; k++) {
    yyjson_arr_foreach(get(spec, lists[k]), i, n, c) {
      int count = count_of(get(get(c, "resources"), "requests"), gpu_resource);
      together += k == 0 ? count : 0;
      largest = k == 1 && count > largest ? count : largest;
    }
  }
  *gpus = together > largest ? together : largest;
  copy(node, 256, text(spec, "nodeName"));
  return *gpus > 0 && *node && strcmp(phase, "Succeeded") != 0 && strcmp(phase, "Failed") != 0;
}
