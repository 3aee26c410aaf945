// Whom to talk to and as whom: out of a kubeconfig file, or as a pod of the cluster itself.
//
// Refused with a clear message: `exec` and auth providers (they run programs), user name and password, a server without
// https, insecure-skip-tls-verify: the server's certificate is always verified. Texts are owned by the struct; keys and
// tokens are wiped when it is freed.
#ifndef SCHEDULER_KUBE_CONFIG_H
#define SCHEDULER_KUBE_CONFIG_H

#include <stddef.h>

#include "ecolink/status.h"

typedef struct kube_config {
  char *server;           // "https://host:port", no slash at its end
  char *tls_server_name;  // "": the server's own host
  char *ca_pem;           // "": the system's authorities
  char *cert_pem;         // client certificate and key; "": none
  char *key_pem;
  char *token;       // "": none
  char *token_file;  // re-read while the client lives; "": none
  char *name_space;  // of the context; "": none
} kube_config;

// Reads a file that the configuration names. Returns malloc'd text with a NUL after it.
typedef eco_status (*kube_file_fn)(void *arg, const char *path, char **text, size_t *len);

// `context` "": the file's current-context. Pure but for `read`.
ECO_CHECKED eco_status kube_config_parse(const char *yaml, size_t len, const char *context, kube_file_fn read,
                                         void *arg, kube_config *out);
// Relative names in the file are looked up beside it.
ECO_CHECKED eco_status kube_config_load(const char *path, const char *context, kube_config *out);
// `dir` holds token, ca.crt and namespace; host and port are KUBERNETES_SERVICE_HOST and _PORT.
ECO_CHECKED eco_status kube_config_in_cluster(const char *dir, const char *host, const char *port, kube_config *out);
void kube_config_free(kube_config *config);

// Bounded by KUBE_FILE_BYTES_MAX; malloc'd, with a NUL after it.
ECO_CHECKED eco_status kube_file_read(const char *path, char **text, size_t *len);

#endif
