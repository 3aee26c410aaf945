// Settings from the environment: matching names against the tables, parsing by kind, refusing what nobody reads.
#include "ecolink/config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/edit_distance.h"

extern char **environ;

enum {
  PREFIX_MAX = 64,
  NAME_MAX_LEN = 128,           // longer names are no setting of ours; bounds what is shown of one
  SECRET_FILE_MAX = 64 * 1024,  // a key or a connection string, not a document
};

static const char FILE_SUFFIX[] = "_FILE";

// Strings handed to the tables, kept reachable: they live until exit. Each text once: a secret may be read again and
// again.
typedef struct kept_string {
  struct kept_string *next;
  char text[];
} kept_string;
static kept_string *kept;

static const char *keep(const char *s, size_t n) {
  for (const kept_string *k = kept; k != NULL; k = k->next) {
    if (strncmp(k->text, s, n) == 0 && k->text[n] == '\0') {
      return k->text;
    }
  }
  kept_string *k = malloc(sizeof(*k) + n + 1);
  if (k == NULL) {
    abort();
  }
  memcpy(k->text, s, n);
  k->text[n] = '\0';
  k->next = kept;
  kept = k;
  return k->text;
}

static void prefix_of(const char *service, char out[PREFIX_MAX]) {
  (void)snprintf(out, PREFIX_MAX, "ECOLINK_%s_", service);
  for (char *p = out; *p != '\0'; p++) {
    *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
  }
}

static bool ends_with(const char *s, size_t n, const char *suffix) {
  size_t len = strlen(suffix);
  return n >= len && memcmp(s + n - len, suffix, len) == 0;
}

// ---- values ----

static eco_status parse_i64(const char *variable, const eco_setting *set, const char *text) {
  char *end = NULL;
  errno = 0;
  long long v = strtoll(text, &end, 10);
  bool number = end != text && *end == '\0' && (isdigit((unsigned char)text[0]) || text[0] == '-');
  if (!number) {
    return eco_error(ECO_INVALID_REQUEST, "%s: \"%s\" is not a whole number", variable, text);
  }
  if (errno == ERANGE || v < set->min || v > set->max) {
    return eco_error(ECO_INVALID_REQUEST, "%s: %s is outside %" PRId64 " to %" PRId64, variable, text, set->min,
                     set->max);
  }
  *(int64_t *)set->target = v;
  return eco_success();
}

static eco_status parse_bool(const char *variable, const eco_setting *set, const char *text) {
  bool yes = strcmp(text, "true") == 0;
  if (!yes && strcmp(text, "false") != 0) {
    return eco_error(ECO_INVALID_REQUEST, "%s: \"%s\" is neither true nor false", variable, text);
  }
  *(bool *)set->target = yes;
  return eco_success();
}

static eco_status parse_choice(const char *variable, const eco_setting *set, const char *text) {
  size_t len = strlen(text);
  for (const char *word = set->choices; word != NULL && *word != '\0';) {
    size_t n = strcspn(word, ",");
    if (n == len && memcmp(word, text, n) == 0) {
      *(const char **)set->target = keep(text, len);
      return eco_success();
    }
    word += n + (word[n] == ',' ? 1 : 0);
  }
  return eco_error(ECO_INVALID_REQUEST, "%s: \"%s\" is none of %s", variable, text, set->choices);
}

static eco_status apply(const char *variable, const eco_setting *set, const char *text) {
  switch (set->kind) {
    case ECO_SET_STR:
    case ECO_SET_SECRET:
      *(const char **)set->target = keep(text, strlen(text));
      return eco_success();
    case ECO_SET_I64:
      return parse_i64(variable, set, text);
    case ECO_SET_BOOL:
      return parse_bool(variable, set, text);
    case ECO_SET_CHOICE:
      return parse_choice(variable, set, text);
  }
  return eco_error(ECO_INTERNAL, "%s: a setting of no known kind", variable);
}

// Reads a secret's file: one trailing line end is not part of it. The path may be told, the content never.
static eco_status apply_file(const char *variable, const eco_setting *set, const char *path) {
  FILE *f = fopen(path, "re");
  if (f == NULL) {
    return eco_error(ECO_INVALID_REQUEST, "%s: cannot read %s: %s", variable, path, strerror(errno));
  }
  char *text = calloc(1, SECRET_FILE_MAX + 2);
  if (text == NULL) {
    abort();
  }
  size_t n = fread(text, 1, SECRET_FILE_MAX + 1, f);
  bool failed = ferror(f) != 0;
  (void)fclose(f);
  eco_status st;
  if (n > 0 && n <= SECRET_FILE_MAX && text[n - 1] == '\n') {
    n -= n > 1 && text[n - 2] == '\r' ? 2 : 1;
    text[n] = '\0';
  }
  if (failed) {
    st = eco_error(ECO_INVALID_REQUEST, "%s: cannot read %s", variable, path);
  } else if (n > SECRET_FILE_MAX) {
    st = eco_error(ECO_INVALID_REQUEST, "%s: %s holds more than %d bytes", variable, path, SECRET_FILE_MAX);
  } else if (strlen(text) != n) {
    st = eco_error(ECO_INVALID_REQUEST, "%s: %s holds a NUL byte", variable, path);
  } else if (n == 0 && set->fallback == NULL) {
    st = eco_error(ECO_INVALID_REQUEST, "%s: %s is empty", variable, path);
  } else {
    st = apply(variable, set, text);
  }
  explicit_bzero(text, SECRET_FILE_MAX + 2);
  free(text);
  return st;
}

static eco_status load_setting(const char *prefix, const eco_setting *set) {
  char variable[PREFIX_MAX + NAME_MAX_LEN];
  char file_variable[PREFIX_MAX + NAME_MAX_LEN + sizeof(FILE_SUFFIX)];
  (void)snprintf(variable, sizeof(variable), "%s%s", prefix, set->name);
  (void)snprintf(file_variable, sizeof(file_variable), "%s%s", variable, FILE_SUFFIX);
  const char *value = getenv(variable);
  const char *path = set->kind == ECO_SET_SECRET ? getenv(file_variable) : NULL;
  if (value != NULL && path != NULL) {
    return eco_error(ECO_INVALID_REQUEST, "%s and %s are both set: keep one", variable, file_variable);
  }
  if (path != NULL) {
    return apply_file(file_variable, set, path);
  }
  if (value != NULL && (*value != '\0' || set->fallback != NULL)) {
    return apply(variable, set, value);
  }
  if (set->fallback == NULL) {
    return eco_error(ECO_INVALID_REQUEST, "%s is %s: %s%s%s", variable, value != NULL ? "empty" : "not set", set->help,
                     set->kind == ECO_SET_SECRET ? "; or name a file in " : "",
                     set->kind == ECO_SET_SECRET ? file_variable : "");
  }
  return apply(variable, set, set->fallback);
}

eco_status eco_config_reread(const char *service, const eco_setting *set) {
  char prefix[PREFIX_MAX];
  char file_variable[PREFIX_MAX + NAME_MAX_LEN + sizeof(FILE_SUFFIX)];
  prefix_of(service, prefix);
  (void)snprintf(file_variable, sizeof(file_variable), "%s%s%s", prefix, set->name, FILE_SUFFIX);
  const char *path = set->kind == ECO_SET_SECRET ? getenv(file_variable) : NULL;
  return path != NULL ? apply_file(file_variable, set, path) : eco_success();
}

// ---- unknown names ----

// Kubernetes describes every Service of a namespace in the environment of each pod. A Service called ecolink-gateway
// yields ECOLINK_GATEWAY_SERVICE_HOST, _SERVICE_PORT, _SERVICE_PORT_<NAME>, _PORT=tcp://…,
// _PORT_<n>_TCP[_PROTO|_PORT|_ADDR].
static bool is_kubernetes_name(const char *name, size_t n, const char *value) {
  if (ends_with(name, n, "SERVICE_HOST") || ends_with(name, n, "SERVICE_PORT")) {
    return true;
  }
  char copy[NAME_MAX_LEN + 1];
  if (n > NAME_MAX_LEN) {
    return false;
  }
  memcpy(copy, name, n);
  copy[n] = '\0';
  if (strstr(copy, "SERVICE_PORT_") != NULL) {
    return true;
  }
  bool address = strstr(value, "://") != NULL;
  if (ends_with(name, n, "PORT") && address) {
    return true;
  }
  for (const char *p = strstr(copy, "PORT_"); p != NULL; p = strstr(p + 1, "PORT_")) {
    const char *after = p + strlen("PORT_");
    size_t digits = strspn(after, "0123456789");
    after += digits;
    if (digits > 0 &&
        (strncmp(after, "_TCP", 4) == 0 || strncmp(after, "_UDP", 4) == 0 || strncmp(after, "_SCTP", 5) == 0)) {
      return true;
    }
  }
  return false;
}

static bool names_setting(const char *name, size_t n, const eco_setting *set) {
  size_t len = strlen(set->name);
  if (n == len && memcmp(name, set->name, n) == 0) {
    return true;
  }
  return set->kind == ECO_SET_SECRET && n == len + strlen(FILE_SUFFIX) && memcmp(name, set->name, len) == 0 &&
         ends_with(name, n, FILE_SUFFIX);
}

static const char *nearest(const char *name, size_t n, const eco_setting *const *tables) {
  const char *best = NULL;
  size_t best_distance = SIZE_MAX;
  for (; *tables != NULL; tables++) {
    for (const eco_setting *set = *tables; set->name != NULL; set++) {
      size_t len = strlen(set->name);
      size_t distance = eco_edit_distance(name, n, set->name, len);
      if (distance < best_distance) {
        best = set->name;
        best_distance = distance;
      }
    }
  }
  // Beyond half of the name it is no likeness, only the least distant of strangers.
  return best != NULL && best_distance <= n / 2 + 1 ? best : NULL;
}

static eco_status check_name(const char *prefix, const char *name, size_t n, const char *value,
                             const eco_setting *const *tables) {
  for (const eco_setting *const *t = tables; *t != NULL; t++) {
    for (const eco_setting *set = *t; set->name != NULL; set++) {
      if (names_setting(name, n, set)) {
        return eco_success();
      }
    }
  }
  if (is_kubernetes_name(name, n, value)) {
    return eco_success();
  }
  const char *like = nearest(name, n, tables);
  int shown = (int)(n < NAME_MAX_LEN ? n : NAME_MAX_LEN);  // a message has its own bound
  if (like != NULL) {
    return eco_error(ECO_INVALID_REQUEST, "%s%.*s is not a setting; did you mean %s%s?", prefix, shown, name, prefix,
                     like);
  }
  return eco_error(ECO_INVALID_REQUEST, "%s%.*s is not a setting; --help lists them all", prefix, shown, name);
}

eco_status eco_config_load(const char *service, const eco_setting *const *tables) {
  char prefix[PREFIX_MAX];
  prefix_of(service, prefix);
  size_t prefix_len = strlen(prefix);
  for (char **e = environ; e != NULL && *e != NULL; e++) {
    const char *equals = strchr(*e, '=');
    if (equals != NULL && strncmp(*e, prefix, prefix_len) == 0) {
      const char *name = *e + prefix_len;
      ECO_TRY(check_name(prefix, name, (size_t)(equals - name), equals + 1, tables));
    }
  }
  for (const eco_setting *const *t = tables; *t != NULL; t++) {
    for (const eco_setting *set = *t; set->name != NULL; set++) {
      ECO_TRY(load_setting(prefix, set));
    }
  }
  return eco_success();
}

void eco_config_help(FILE *out, const char *service, const eco_setting *const *tables) {
  char prefix[PREFIX_MAX];
  prefix_of(service, prefix);
  for (; *tables != NULL; tables++) {
    for (const eco_setting *set = *tables; set->name != NULL; set++) {
      (void)fprintf(out, "  %s%s%s\n      %s\n", prefix, set->name, set->kind == ECO_SET_SECRET ? " (or …_FILE)" : "",
                    set->help);
      if (set->kind == ECO_SET_CHOICE) {
        (void)fprintf(out, "      one of: %s\n", set->choices);
      } else if (set->kind == ECO_SET_I64) {
        (void)fprintf(out, "      from %" PRId64 " to %" PRId64 "\n", set->min, set->max);
      } else if (set->kind == ECO_SET_BOOL) {
        (void)fputs("      true or false\n", out);
      }
      if (set->fallback == NULL) {
        (void)fputs("      required\n", out);
      } else if (*set->fallback != '\0' && set->kind != ECO_SET_SECRET) {
        (void)fprintf(out, "      default: %s\n", set->fallback);
      }
    }
  }
}
