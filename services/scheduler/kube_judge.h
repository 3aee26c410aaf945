// What a replica's objects say about it, in the words of driver.h. Pure.
#ifndef SCHEDULER_KUBE_JUDGE_H
#define SCHEDULER_KUBE_JUDGE_H

#include "kube_digest.h"
#include "kube_region.h"

// Everything of one replica that exists; NULL: it does not.
typedef struct kube_view {
  int64_t instance_id;
  int replica_id;
  const kube_deployment_digest *deployment;
  const kube_pod_digest *const *pods;
  size_t pod_count;
  const kube_meta *secret;
  const kube_service_digest *service;
  bool volume_there;  // the volume that its Deployment names exists
  bool stray;         // a copy of one of its objects exists under another name
} kube_view;

// Whether everything is in place as we said it, so that nothing has to be written.
bool kube_in_order(const kube_place *place, const kube_view *view);
// Whether there is a Service that the region's endpoint mode no longer needs: it may publish the engine.
bool kube_has_leftover(const kube_place *place, const kube_view *view);
// False: nothing of it exists.
bool kube_judge(const kube_place *place, const kube_view *view, replica_observation *out);

#endif
