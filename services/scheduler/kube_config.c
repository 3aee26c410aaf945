// Reading kubeconfig files.
#include "kube_config.h"

#include <errno.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#include "ecolink/buf.h"
#include "kube_limits.h"

// ---- files ----
eco_status kube_file_read(const char *path, char **text, size_t *len) {
  FILE *f = fopen(path, "re");
  if (!f) {
    return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "cannot read %s: %s", path, strerror(errno));
  }
  char *bytes = malloc(KUBE_FILE_BYTES_MAX + 2);
  size_t n = bytes ? fread(bytes, 1, KUBE_FILE_BYTES_MAX + 1, f) : 0;
  bool failed = ferror(f) != 0 || !bytes;
  (void)fclose(f);
  if (failed || n > KUBE_FILE_BYTES_MAX) {
    free(bytes);
    return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "cannot read %s: %s", path,
                     failed ? "input/output error" : "it is too long");
  }
  bytes[n] = '\0';
  *text = bytes;
  *len = n;
  return eco_success();
}

static eco_status read_beside(void *arg, const char *path, char **text, size_t *len) {
  const char *config = arg;
  const char *slash = strrchr(config, '/');
  char full[4096];
  if (path[0] == '/' || !slash) {
    return kube_file_read(path, text, len);
  }
  int n = snprintf(full, sizeof(full), "%.*s/%s", (int)(slash - config), config, path);
  if (n < 0 || (size_t)n >= sizeof(full)) {
    return eco_error(ECO_INVALID_REQUEST, "the name of a file in %s is too long", config);
  }
  return kube_file_read(full, text, len);
}

// ---- the document ----
typedef struct reading {
  yaml_document_t doc;
  kube_file_fn read;
  void *arg;
} reading;

static yaml_node_t *get(reading *r, yaml_node_t *map, const char *key) {
  if (!map || map->type != YAML_MAPPING_NODE) {
    return NULL;
  }
  for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
    const yaml_node_t *k = yaml_document_get_node(&r->doc, p->key);
    if (k && k->type == YAML_SCALAR_NODE && strcmp((const char *)k->data.scalar.value, key) == 0) {
      return yaml_document_get_node(&r->doc, p->value);
    }
  }
  return NULL;
}

// "" when it is absent, null or no scalar.
static const char *text_of(reading *r, yaml_node_t *map, const char *key) {
  const yaml_node_t *v = get(r, map, key);
  if (!v || v->type != YAML_SCALAR_NODE) {
    return "";
  }
  const char *s = (const char *)v->data.scalar.value;
  bool plain = v->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
  return plain && (strcmp(s, "null") == 0 || strcmp(s, "~") == 0) ? "" : s;
}

// The entry of that name in a list of {name, <kind>}.
static yaml_node_t *named(reading *r, const char *list, const char *name, const char *kind) {
  const yaml_node_t *seq = get(r, yaml_document_get_root_node(&r->doc), list);
  if (!seq || seq->type != YAML_SEQUENCE_NODE) {
    return NULL;
  }
  for (const yaml_node_item_t *i = seq->data.sequence.items.start; i < seq->data.sequence.items.top; i++) {
    yaml_node_t *entry = yaml_document_get_node(&r->doc, *i);
    if (strcmp(text_of(r, entry, "name"), name) == 0) {
      return get(r, entry, kind);
    }
  }
  return NULL;
}

static eco_status copy(const char *s, char **out) {
  free(*out);
  *out = strdup(s);
  return *out ? eco_success() : eco_error(ECO_OVERLOADED, "not enough memory");
}

static eco_status decode(const char *base64, const char *what, char **out) {
  size_t cap = strlen(base64) * 3 / 4 + 4;
  size_t len = 0;
  char *bytes = malloc(cap);
  if (!bytes) {
    return eco_error(ECO_OVERLOADED, "not enough memory");
  }
  if (sodium_base642bin((unsigned char *)bytes, cap - 1, base64, strlen(base64), " \r\n\t", &len, NULL,
                        sodium_base64_VARIANT_ORIGINAL) != 0) {
    free(bytes);
    return eco_error(ECO_INVALID_REQUEST, "%s is no base64", what);
  }
  bytes[len] = '\0';
  *out = bytes;
  return eco_success();
}

// "<key>-data" holds it, or "<key>" names a file. Inline data wins, as with kubectl.
static eco_status data_or_file(reading *r, yaml_node_t *map, const char *data_key, const char *file_key, char **out) {
  const char *data = text_of(r, map, data_key);
  const char *file = text_of(r, map, file_key);
  size_t len = 0;
  if (*data) {
    return decode(data, data_key, out);
  }
  return *file ? r->read(r->arg, file, out, &len) : copy("", out);
}

static eco_status read_cluster(reading *r, yaml_node_t *cluster, kube_config *out) {
  const char *server = text_of(r, cluster, "server");
  if (strcasecmp(text_of(r, cluster, "insecure-skip-tls-verify"), "true") == 0) {
    return eco_error(ECO_INVALID_REQUEST,
                     "insecure-skip-tls-verify is refused: give certificate-authority-data of the cluster");
  }
  if (*text_of(r, cluster, "proxy-url")) {
    return eco_error(ECO_INVALID_REQUEST, "proxy-url is not supported");
  }
  if (strncmp(server, "https://", 8) != 0 || !server[8]) {
    return eco_error(ECO_INVALID_REQUEST, "the cluster's server must be https://<host>:<port>");
  }
  ECO_TRY(copy(server, &out->server));
  for (size_t n = strlen(out->server); n > 0 && out->server[n - 1] == '/'; n--) {
    out->server[n - 1] = '\0';
  }
  ECO_TRY(copy(text_of(r, cluster, "tls-server-name"), &out->tls_server_name));
  return data_or_file(r, cluster, "certificate-authority-data", "certificate-authority", &out->ca_pem);
}

static eco_status read_user(reading *r, yaml_node_t *user, kube_config *out) {
  static const struct {
    const char *key;
    const char *why;
  } refused[] = {
      {"exec",
       "exec credentials are refused: the scheduler runs no program of a kubeconfig. Use a service account's "
       "token (tokenFile) or a client certificate"},
      {"auth-provider",
       "auth providers are refused: use a service account's token (tokenFile) or a client certificate"},
      {"username", "user name and password are refused: use a token or a client certificate"},
      {"as", "impersonation is not supported"},
  };
  for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
    if (get(r, user, refused[i].key)) {
      return eco_error(ECO_INVALID_REQUEST, "%s", refused[i].why);
    }
  }
  ECO_TRY(data_or_file(r, user, "client-certificate-data", "client-certificate", &out->cert_pem));
  ECO_TRY(data_or_file(r, user, "client-key-data", "client-key", &out->key_pem));
  if (!*out->cert_pem != !*out->key_pem) {
    return eco_error(ECO_INVALID_REQUEST, "a client certificate needs its key, and the key its certificate");
  }
  ECO_TRY(copy(text_of(r, user, "token"), &out->token));
  return copy(text_of(r, user, "tokenFile"), &out->token_file);
}

static eco_status read_document(reading *r, const char *context, kube_config *out) {
  yaml_node_t *root = yaml_document_get_root_node(&r->doc);
  if (!root || root->type != YAML_MAPPING_NODE) {
    return eco_error(ECO_INVALID_REQUEST, "it is no mapping");
  }
  const char *name = *context ? context : text_of(r, root, "current-context");
  yaml_node_t *chosen = *name ? named(r, "contexts", name, "context") : NULL;
  if (!chosen) {
    return eco_error(ECO_INVALID_REQUEST, *name ? "it has no context \"%.64s\"" : "it names no current-context%s",
                     name);
  }
  const char *cluster_name = text_of(r, chosen, "cluster");
  const char *user_name = text_of(r, chosen, "user");
  yaml_node_t *cluster = named(r, "clusters", cluster_name, "cluster");
  yaml_node_t *user = named(r, "users", user_name, "user");
  if (!cluster) {
    return eco_error(ECO_INVALID_REQUEST, "it has no cluster \"%.64s\"", cluster_name);
  }
  if (*user_name && !user) {
    return eco_error(ECO_INVALID_REQUEST, "it has no user \"%.64s\"", user_name);
  }
  ECO_TRY(copy(text_of(r, chosen, "namespace"), &out->name_space));
  ECO_TRY(eco_context(read_cluster(r, cluster, out), "cluster \"%.64s\"", cluster_name));
  return eco_context(read_user(r, user, out), "user \"%.64s\"", user_name);
}

eco_status kube_config_parse(const char *yaml, size_t len, const char *context, kube_file_fn read, void *arg,
                             kube_config *out) {
  *out = (kube_config){0};
  reading r = {.read = read, .arg = arg};
  yaml_parser_t parser;
  if (len > KUBE_CONFIG_BYTES_MAX) {
    return eco_error(ECO_INVALID_REQUEST, "it is too long");
  }
  if (!yaml_parser_initialize(&parser)) {
    return eco_error(ECO_OVERLOADED, "not enough memory");
  }
  yaml_parser_set_input_string(&parser, (const unsigned char *)yaml, len);
  if (!yaml_parser_load(&parser, &r.doc)) {
    eco_status bad = eco_error(ECO_INVALID_REQUEST, "line %zu: %s", parser.problem_mark.line + 1,
                               parser.problem ? parser.problem : "no YAML");
    yaml_parser_delete(&parser);
    return bad;
  }
  eco_status st = read_document(&r, context ? context : "", out);
  yaml_document_delete(&r.doc);
  yaml_parser_delete(&parser);
  if (!eco_ok(st)) {
    kube_config_free(out);
  }
  return st;
}

eco_status kube_config_load(const char *path, const char *context, kube_config *out) {
  char *text = NULL;
  size_t len = 0;
  *out = (kube_config){0};
  ECO_TRY(eco_context(kube_file_read(path, &text, &len), "kubeconfig"));
  eco_status st = kube_config_parse(text, len, context, read_beside, (void *)path, out);
  sodium_memzero(text, len);
  free(text);
  if (eco_ok(st) && *out->token_file && out->token_file[0] != '/' && strchr(path, '/')) {
    eco_buf full;
    eco_buf_init(&full, 8192);
    bool fits =
        eco_buf_append(&full, path, (size_t)(strrchr(path, '/') - path) + 1) && eco_buf_puts(&full, out->token_file);
    st = fits ? copy(full.data, &out->token_file) : eco_error(ECO_INVALID_REQUEST, "tokenFile is too long");
    eco_buf_free(&full);
  }
  if (!eco_ok(st)) {
    kube_config_free(out);
  }
  return eco_context(st, "kubeconfig %.200s", path);
}

eco_status kube_config_in_cluster(const char *dir, const char *host, const char *port, kube_config *out) {
  char path[4096];
  char server[512];
  size_t len = 0;
  eco_status st;
  *out = (kube_config){0};
  if (!host || !*host || !port || !*port) {
    return eco_error(ECO_INVALID_REQUEST,
                     "in_cluster needs KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT: this is no pod");
  }
  bool v6 = strchr(host, ':') != NULL;
  (void)snprintf(server, sizeof(server), "https://%s%.255s%s:%.16s", v6 ? "[" : "", host, v6 ? "]" : "", port);
  ECO_TRY_GOTO(copy(server, &out->server));
  ECO_TRY_GOTO(copy("", &out->tls_server_name));
  ECO_TRY_GOTO(copy("", &out->cert_pem));
  ECO_TRY_GOTO(copy("", &out->key_pem));
  ECO_TRY_GOTO(copy("", &out->token));
  (void)snprintf(path, sizeof(path), "%s/token", dir);
  ECO_TRY_GOTO(copy(path, &out->token_file));
  (void)snprintf(path, sizeof(path), "%s/ca.crt", dir);
  ECO_TRY_GOTO(kube_file_read(path, &out->ca_pem, &len));
  (void)snprintf(path, sizeof(path), "%s/namespace", dir);
  if (!eco_ok(kube_file_read(path, &out->name_space, &len))) {
    ECO_TRY_GOTO(copy("", &out->name_space));
  }
  out->name_space[strcspn(out->name_space, "\r\n")] = '\0';
cleanup:
  if (!eco_ok(st)) {
    kube_config_free(out);
  }
  return st;
}

static void wipe(char **text) {
  if (*text) {
    sodium_memzero(*text, strlen(*text));
    free(*text);
    *text = NULL;
  }
}

void kube_config_free(kube_config *config) {
  wipe(&config->server);
  wipe(&config->tls_server_name);
  wipe(&config->ca_pem);
  wipe(&config->cert_pem);
  wipe(&config->key_pem);
  wipe(&config->token);
  wipe(&config->token_file);
  wipe(&config->name_space);
}
