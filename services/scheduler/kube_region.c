// Checking a region's configuration.
#include "kube_region.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "kube_limits.h"

enum { LIST_MAX = 64, WEIGHTS_GB_DEFAULT = 500, WEIGHTS_GB_MAX = 1 << 20 };

static const char *or_default(const char *given, const char *fallback) {
  return *given ? given : fallback;
}

static eco_status bad(const char *field, const char *why) {
  return eco_error_param(ECO_INVALID_REQUEST, "kubernetes", "kubernetes.%s %s", field, why);
}

static bool is_dns_label(const char *s) {
  size_t n = strlen(s);
  return n > 0 && n < KUBE_NAMESPACE_MAX && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == n && s[0] != '-' &&
         s[n - 1] != '-';
}

// File names, label keys and values, resource names: nothing that could leave its place in a path or a selector.
static bool is_plain(const char *s, const char *also) {
  size_t n = strlen(s);
  for (size_t i = 0; i < n; i++) {
    bool alnum = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= '0' && s[i] <= '9');
    if (!alnum && !strchr(also, s[i])) {
      return false;
    }
  }
  return n <= 253;
}

static bool is_cidr(const char *s) {
  char address[64];
  unsigned char bytes[16];
  const char *slash = strchr(s, '/');
  if (!slash || (size_t)(slash - s) >= sizeof(address) || !slash[1] ||
      strspn(slash + 1, "0123456789") != strlen(slash + 1) || strlen(slash + 1) > 3) {
    return false;
  }
  memcpy(address, s, (size_t)(slash - s));
  address[slash - s] = '\0';
  long bits = strtol(slash + 1, NULL, 10);
  return (inet_pton(AF_INET, address, bytes) == 1 && bits <= 32) ||
         (inet_pton(AF_INET6, address, bytes) == 1 && bits <= 128);
}

static eco_status check_lists(const Ecolink__V1__KubernetesRegion *g) {
  if (g->n_allowed_source_ranges > LIST_MAX || g->n_gpu_values > LIST_MAX || g->n_tolerations > LIST_MAX ||
      g->n_node_labels > LIST_MAX || g->n_image_pull_secrets > LIST_MAX || g->n_weights_node_labels > LIST_MAX ||
      g->n_filesystems > LIST_MAX) {
    return bad("lists", "hold at most 64 elements each");
  }
  for (size_t i = 0; i < g->n_allowed_source_ranges; i++) {
    if (!is_cidr(g->allowed_source_ranges[i])) {
      return bad("allowed_source_ranges", "are address ranges like 10.0.0.0/8");
    }
  }
  for (size_t i = 0; i < g->n_gpu_values; i++) {
    if (!is_plain(g->gpu_values[i]->value, "-_.") || !*g->gpu_values[i]->value ||
        strlen(g->gpu_values[i]->value) > 63) {
      return bad("gpu_values", "are values of a node label");
    }
  }
  for (size_t i = 0; i < g->n_tolerations; i++) {
    const Ecolink__V1__KubernetesToleration *t = g->tolerations[i];
    if (*t->operator_ && strcmp(t->operator_, "Exists") != 0 && strcmp(t->operator_, "Equal") != 0) {
      return bad("tolerations", "have the operator Exists or Equal");
    }
  }
  for (size_t i = 0; i < g->n_filesystems; i++) {
    if (!is_plain(g->filesystems[i]->value, "-.") || !*g->filesystems[i]->value) {
      return bad("filesystems", "name a PersistentVolumeClaim each");
    }
  }
  return eco_success();
}

static eco_status read_endpoint(const Ecolink__V1__KubernetesRegion *g, kube_endpoint *out) {
  static const char *const words[] = {"pod", "service", "node_port", "load_balancer"};
  const char *mode = or_default(g->endpoint_mode, words[0]);
  for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
    if (strcmp(mode, words[i]) == 0) {
      *out = (kube_endpoint)i;
      bool published = *out == KUBE_ENDPOINT_NODE_PORT || *out == KUBE_ENDPOINT_LOAD_BALANCER;
      if (published && g->n_allowed_source_ranges == 0) {
        return bad("allowed_source_ranges",
                   "must be given: node_port and load_balancer publish engines, and not every engine asks for a key");
      }
      return eco_success();
    }
  }
  return bad("endpoint_mode", "is pod, service, node_port or load_balancer");
}

static eco_status read_weights(const Ecolink__V1__KubernetesRegion *g, kube_place *out) {
  static const char *const words[] = {"ReadWriteMany", "ReadWriteOnce", "none"};
  const char *access = or_default(g->weights_access, words[0]);
  out->weights_gb = g->weights_gb ? g->weights_gb : WEIGHTS_GB_DEFAULT;
  if (out->weights_gb < 1 || out->weights_gb > WEIGHTS_GB_MAX) {
    return bad("weights_gb", "is between 1 and 1048576");
  }
  for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
    if (strcmp(access, words[i]) == 0) {
      out->weights = (kube_weights)i;
      if (out->weights == KUBE_WEIGHTS_ONCE && g->n_weights_node_labels == 0) {
        return bad("weights_node_labels", "must name the nodes where a ReadWriteOnce volume can be mounted");
      }
      return eco_success();
    }
  }
  return bad("weights_access", "is ReadWriteMany, ReadWriteOnce or none");
}

eco_status kube_place_build(const char *installation, const char *region, const Ecolink__V1__KubernetesRegion *g,
                            kube_place *out) {
  if (!g || (!*g->kubeconfig && !g->in_cluster)) {
    return bad("kubeconfig", "must name a file of the scheduler's KUBECONFIG_DIR, or in_cluster be true");
  }
  if (*g->kubeconfig && (g->in_cluster || !is_plain(g->kubeconfig, "-_.") || g->kubeconfig[0] == '.')) {
    return bad("kubeconfig", g->in_cluster ? "and in_cluster exclude each other" : "is a file's name without a path");
  }
  *out = (kube_place){.installation = installation,
                      .region = region,
                      .given = g,
                      .name_space = kube_place_namespace(g),
                      .system_namespace = or_default(g->system_namespace, "ecolink-system"),
                      .cluster_domain = or_default(g->cluster_domain, "cluster.local"),
                      .gpu_label = or_default(g->gpu_label, "nvidia.com/gpu.product"),
                      .gpu_resource = or_default(g->gpu_resource, "nvidia.com/gpu"),
                      .weights_image = strcmp(g->weights_image, "none") == 0 ? "" : g->weights_image};
  if (!is_dns_label(out->name_space) || !is_dns_label(out->system_namespace)) {
    return bad("namespace", "is lower-case letters, digits and dashes, at most 63");
  }
  if (!is_plain(out->cluster_domain, "-.") || strlen(out->cluster_domain) > 100) {
    return bad("cluster_domain", "is a DNS name");
  }
  if (!is_plain(out->gpu_label, "-_./") || !is_plain(out->gpu_resource, "-_./")) {
    return bad("gpu_label", "and gpu_resource are names like nvidia.com/gpu");
  }
  if (g->cpu_milli_per_gpu < 0 || g->memory_mb_per_gpu < 0) {
    return bad("cpu_milli_per_gpu", "and memory_mb_per_gpu are not negative");
  }
  if (*g->hub_url && strncmp(g->hub_url, "https://", 8) != 0 && strncmp(g->hub_url, "http://", 7) != 0) {
    return bad("hub_url", "is an address like https://huggingface.co");
  }
  ECO_TRY(check_lists(g));
  ECO_TRY(read_endpoint(g, &out->endpoint));
  return read_weights(g, out);
}

void kube_place_default_weights(kube_place *place, const char *image) {
  if (!*place->given->weights_image) {
    place->weights_image = image;
  }
}

const char *kube_place_namespace(const Ecolink__V1__KubernetesRegion *given) {
  return or_default(given->namespace_, "ecolink-tenants");
}

const char *kube_place_gpu_value(const kube_place *place, const char *gpu_type) {
  for (size_t i = 0; i < place->given->n_gpu_values; i++) {
    if (strcmp(place->given->gpu_values[i]->name, gpu_type) == 0) {
      return place->given->gpu_values[i]->value;
    }
  }
  return gpu_type;
}

const char *kube_place_claim(const kube_place *place, const char *filesystem) {
  for (size_t i = 0; i < place->given->n_filesystems; i++) {
    if (strcmp(place->given->filesystems[i]->name, filesystem) == 0) {
      return place->given->filesystems[i]->value;
    }
  }
  return NULL;
}
