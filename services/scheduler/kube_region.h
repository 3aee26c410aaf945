// A region of driver "kubernetes" as its operator configured it: checked, and with every default filled in. Pure.
#ifndef SCHEDULER_KUBE_REGION_H
#define SCHEDULER_KUBE_REGION_H

#include "ecolink/arena.h"
#include "ecolink/status.h"
#include "ecolink/v1/scheduler.pb-c.h"

typedef enum kube_endpoint {
  KUBE_ENDPOINT_POD,
  KUBE_ENDPOINT_SERVICE,
  KUBE_ENDPOINT_NODE_PORT,
  KUBE_ENDPOINT_LOAD_BALANCER,
} kube_endpoint;

typedef enum kube_weights { KUBE_WEIGHTS_MANY, KUBE_WEIGHTS_ONCE, KUBE_WEIGHTS_NONE } kube_weights;

typedef struct kube_place {
  const char *installation;                    // uuid
  const char *region;                          // its name
  const Ecolink__V1__KubernetesRegion *given;  // lists are read from here
  const char *name_space;
  kube_endpoint endpoint;
  const char *system_namespace;
  const char *cluster_domain;
  const char *gpu_label;
  const char *gpu_resource;
  kube_weights weights;
  int weights_gb;
  const char *weights_image;  // brings the weights before the engine starts; "": engines download for themselves
} kube_place;

// INVALID_REQUEST with param "kubernetes" and the field at fault. Everything in *out is borrowed.
ECO_CHECKED eco_status kube_place_build(const char *installation, const char *region,
                                        const Ecolink__V1__KubernetesRegion *given, kube_place *out);
// The weights' image of regions that name none: the installation's.
void kube_place_default_weights(kube_place *place, const char *image);
// Where its replicas live.
const char *kube_place_namespace(const Ecolink__V1__KubernetesRegion *given);
// The value of the GPU label that stands for a GPU type.
const char *kube_place_gpu_value(const kube_place *place, const char *gpu_type);
// The claim of a shared filesystem; NULL: it is not to be had in this region.
const char *kube_place_claim(const kube_place *place, const char *filesystem);

#endif
