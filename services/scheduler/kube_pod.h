// The pod template of a replica.
#ifndef SCHEDULER_KUBE_POD_H
#define SCHEDULER_KUBE_POD_H

#include "kube_json.h"
#include "kube_objects.h"

// The labels by which a replica's pods are selected.
void kube_put_replica_labels(kube_json *j, yyjson_mut_val *labels, const kube_place *place, const replica_spec *spec);
ECO_CHECKED eco_status kube_put_pod(kube_json *j, yyjson_mut_val *template, const kube_place *place,
                                    const replica_spec *spec);

#endif
