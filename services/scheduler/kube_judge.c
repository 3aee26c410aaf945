// From objects to an observation.
#include "kube_judge.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kube_objects.h"

__attribute__((format(printf, 2, 3))) static void say(replica_observation *out, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  (void)vsnprintf(out->detail, sizeof(out->detail), fmt, ap);
  va_end(ap);
}

// A region may have got another endpoint mode since: then the Service is missing, or of the wrong type.
static bool service_in_order(const kube_place *place, const kube_service_digest *s) {
  return !kube_wants_service(place) || (s && !s->meta.edited && strcmp(s->type, kube_service_type(place)) == 0);
}

bool kube_in_order(const kube_place *place, const kube_view *v) {
  const kube_deployment_digest *d = v->deployment;
  return d && !d->meta.edited && !d->meta.deleting && (!d->has_secret || (v->secret && !v->secret->edited)) &&
         service_in_order(place, v->service) && (!*d->volume || v->volume_there) && !v->stray;
}

bool kube_has_leftover(const kube_place *place, const kube_view *v) {
  return !kube_wants_service(place) && v->service && !v->service->meta.deleting;
}

// The newest pod of the Deployment's generation that is not on its way out; failing that, the newest of all.
static const kube_pod_digest *best_pod(const kube_view *v, bool *current) {
  const kube_pod_digest *best = NULL;
  *current = false;
  for (size_t i = 0; i < v->pod_count; i++) {
    const kube_pod_digest *p = v->pods[i];
    bool good = v->deployment && !p->meta.deleting && p->meta.generation == v->deployment->meta.generation;
    bool better = !best || (good && !*current) ||
                  (good == *current &&
                   ((best->ended && !p->ended) || (best->ended == p->ended && p->created_us > best->created_us)));
    if (better) {
      best = p;
      *current = good;
    }
  }
  return best;
}

// ---- the address that gateways use ----
static bool address(const kube_place *place, const kube_view *v, const kube_pod_digest *p, replica_observation *out) {
  char name[KUBE_NAME_MAX];
  const kube_service_digest *s = v->service;
  out->port = p->port;
  switch (place->endpoint) {
    case KUBE_ENDPOINT_POD:
      (void)snprintf(out->host, sizeof(out->host), "%s", p->ip);
      break;
    case KUBE_ENDPOINT_SERVICE:
      kube_replica_name(v->instance_id, v->replica_id, name);
      if (s) {
        (void)snprintf(out->host, sizeof(out->host), "%s.%s.svc.%s", name, place->name_space, place->cluster_domain);
      }
      break;
    case KUBE_ENDPOINT_NODE_PORT:
      (void)snprintf(out->host, sizeof(out->host), "%s", s ? p->host_ip : "");
      out->port = s ? s->node_port : 0;
      break;
    case KUBE_ENDPOINT_LOAD_BALANCER:
      (void)snprintf(out->host, sizeof(out->host), "%s", s ? s->ingress : "");
      break;
  }
  return *out->host && out->port > 0;
}

// ---- words ----
static bool starts(const char *reason, const char *prefix) {
  return strncmp(reason, prefix, strlen(prefix)) == 0;
}

static void say_waiting(const kube_pod_digest *p, replica_observation *out) {
  static const char *const pull[] = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull",
                                     "RegistryUnavailable"};
  for (size_t i = 0; i < sizeof(pull) / sizeof(pull[0]); i++) {
    if (strcmp(p->reason, pull[i]) == 0) {
      say(out, "the image cannot be pulled (%s): %.90s", p->reason, *p->words ? p->words : "no more is known");
      return;
    }
  }
  if (p->downloading && p->percent >= 0) {
    say(out, "downloading weights %d %%", p->percent);
    return;
  }
  // said until it gets further again: the same failure over and over is no progress
  if (strcmp(p->reason, KUBE_DOWNLOAD_FAILED) == 0) {
    say(out, "the weights cannot be downloaded, trying again: %.100s", *p->words ? p->words : "no more is known");
    return;
  }
  if (p->downloading) {
    say(out, "downloading weights");
    return;
  }
  if (!p->scheduled) {
    say(out, *p->words ? "waiting for a free place: %.110s" : "waiting for a free place", p->words);
  } else if (starts(p->reason, "CreateContainer") || starts(p->reason, "RunContainer")) {
    say(out, "its container cannot be created (%s): %.80s", p->reason, p->words);
  } else {
    say(out, "pulling image");
  }
}

static void say_exit(const kube_pod_digest *p, replica_observation *out) {
  const char *again = p->ended ? "is being replaced" : "restarting";
  if (p->ended && *p->reason) {
    say(out, "ended by the cluster (%s): %.80s, is being replaced", p->reason, p->words);
  } else if (strcmp(p->exit_reason, "OOMKilled") == 0) {
    say(out, "ran out of memory (OOMKilled), %s", again);
  } else if (p->exit_code > 128) {
    say(out, "killed by signal %d, %s", p->exit_code - 128, again);
  } else {
    say(out, "exited with status %d, %s", p->exit_code, again);
  }
}

// ---- the judgement ----
static void judge_pod(const kube_place *place, const kube_view *v, const kube_pod_digest *p, replica_observation *out) {
  bool crashed = p->state == KUBE_POD_TERMINATED || strcmp(p->reason, "CrashLoopBackOff") == 0;
  // whatever makes it another process makes it another run
  (void)snprintf(out->run_id, sizeof(out->run_id), "%.39s.%d", p->meta.uid, p->restarts);
  out->restarts = p->restarts;
  memcpy(out->exits_us, p->exits_us, sizeof(out->exits_us));
  bool reachable = address(place, v, p, out);
  if (crashed) {
    out->phase = REPLICA_EXITED;
    say_exit(p, out);
  } else if (p->state != KUBE_POD_RUNNING) {
    out->phase = REPLICA_STARTING;
    say_waiting(p, out);
  } else if (!p->ready) {
    out->phase = REPLICA_STARTING;
    say(out, "loading: its health check does not answer yet");
  } else if (!reachable) {
    out->phase = REPLICA_STARTING;
    say(out, "waiting for an address");
  } else {
    out->phase = REPLICA_ALIVE;
    out->ready_since_us = p->ready_since_us;
    say(out, "running");
  }
}

bool kube_judge(const kube_place *place, const kube_view *v, replica_observation *out) {
  bool current = false;
  const kube_pod_digest *p = best_pod(v, &current);
  *out = (replica_observation){.instance_id = v->instance_id, .replica_id = v->replica_id};
  if (!v->deployment && !p && !v->secret && !v->service && !v->stray) {
    return false;
  }
  out->need = !kube_in_order(place, v)      ? DRIVER_NEEDS_APPLY
              : kube_has_leftover(place, v) ? DRIVER_NEEDS_TIDY
                                            : DRIVER_NEEDS_NOTHING;
  if (!v->deployment || v->deployment->meta.deleting) {
    out->phase = REPLICA_STOPPING;
    out->generation = v->deployment ? v->deployment->meta.generation : p ? p->meta.generation : 0;
    out->need = v->deployment ? DRIVER_NEEDS_NOTHING : DRIVER_NEEDS_APPLY;
    if (p) {
      (void)snprintf(out->run_id, sizeof(out->run_id), "%.39s.%d", p->meta.uid, p->restarts);
      out->restarts = p->restarts;
      memcpy(out->exits_us, p->exits_us, sizeof(out->exits_us));
      (void)address(place, v, p, out);
    }
    say(out, "stopping");
    return true;
  }
  out->generation = v->deployment->meta.generation;
  if (current) {
    judge_pod(place, v, p, out);
    return true;
  }
  out->phase = REPLICA_STARTING;
  if (*v->deployment->trouble) {
    say(out, "its pod cannot be created: %.110s", v->deployment->trouble);
  } else {
    say(out, p ? "waiting for the run before it to end" : "waiting for its pod");
  }
  return true;
}
