// The stored URL and key.
#include "profile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char DEFAULT_URL[] = "http://127.0.0.1:8080";  // the local stack's

eco_status cli_profile_path(char out[CLI_PATH_MAX]) {
  const char *base = getenv("XDG_CONFIG_HOME");
  const char *home = getenv("HOME");
  int n = -1;
  if (base != NULL && base[0] == '/') {
    n = snprintf(out, CLI_PATH_MAX, "%s/ecolink/config", base);
  } else if (home != NULL && home[0] == '/') {
    n = snprintf(out, CLI_PATH_MAX, "%s/.config/ecolink/config", home);
  }
  return n > 0 && n < CLI_PATH_MAX
             ? eco_success()
             : eco_error(ECO_INVALID_REQUEST, "HOME is not set: there is no place for the configuration");
}

eco_status cli_url_normalise(const char *url, char out[CLI_URL_MAX]) {
  size_t len = strlen(url);
  while (len > 0 && url[len - 1] == '/') {
    len--;
  }
  size_t scheme = strncmp(url, "http://", 7) == 0 ? 7 : strncmp(url, "https://", 8) == 0 ? 8 : 0;
  if (scheme == 0 || len <= scheme || len >= CLI_URL_MAX) {
    return eco_error(ECO_INVALID_REQUEST, "\"%s\" is no gateway's URL: https://host[:port] is wanted", url);
  }
  for (size_t i = scheme; i < len; i++) {
    unsigned char c = (unsigned char)url[i];
    if (c <= ' ' || c >= 0x7F || c == '@' || c == '?' || c == '#') {
      return eco_error(ECO_INVALID_REQUEST, "\"%s\" is no gateway's URL: https://host[:port] is wanted", url);
    }
  }
  memcpy(out, url, len);
  out[len] = '\0';
  return eco_success();
}

// "name = value" lines; # begins a comment.
static void take_line(char *line, cli_profile *out) {
  char *equals = strchr(line, '=');
  if (line[0] == '#' || equals == NULL) {
    return;
  }
  char *end = equals;
  while (end > line && (end[-1] == ' ' || end[-1] == '\t')) {
    end--;
  }
  *end = '\0';
  char *value = equals + 1 + strspn(equals + 1, " \t");
  value[strcspn(value, " \t\r\n")] = '\0';
  if (strcmp(line, "url") == 0) {
    (void)snprintf(out->url, sizeof(out->url), "%s", value);
  } else if (strcmp(line, "api_key") == 0) {
    (void)snprintf(out->key, sizeof(out->key), "%s", value);
  }
}

static eco_status read_stored(cli_profile *out) {
  char path[CLI_PATH_MAX];
  *out = (cli_profile){.key_source = ""};
  if (!eco_ok(cli_profile_path(path))) {
    return eco_success();  // nowhere to look is like nothing stored
  }
  FILE *f = fopen(path, "re");
  if (f == NULL) {
    return errno == ENOENT || errno == ENOTDIR
               ? eco_success()
               : eco_error(ECO_INVALID_REQUEST, "cannot read %s: %s", path, strerror(errno));
  }
  struct stat st;
  if (fstat(fileno(f), &st) == 0 && (st.st_mode & 077) != 0) {
    fprintf(stderr, "ecolink: %s can be read by others; run: chmod 600 %s\n", path, path);
  }
  char line[1024];
  while (fgets(line, sizeof(line), f) != NULL) {
    take_line(line, out);
  }
  (void)fclose(f);
  explicit_bzero(line, sizeof(line));
  return eco_success();
}

eco_status cli_profile_load(const char *url_option, cli_profile *out) {
  cli_profile stored;
  ECO_TRY(read_stored(&stored));
  const char *env_url = getenv("ECOLINK_URL");
  const char *env_key = getenv("ECOLINK_API_KEY");
  const char *url = url_option != NULL                      ? url_option
                    : env_url != NULL && env_url[0] != '\0' ? env_url
                    : stored.url[0] != '\0'                 ? stored.url
                                                            : DEFAULT_URL;
  *out = (cli_profile){.key_source = ""};
  ECO_TRY(cli_url_normalise(url, out->url));
  if (env_key != NULL && env_key[0] != '\0') {
    (void)snprintf(out->key, sizeof(out->key), "%s", env_key);
    out->key_source = "ECOLINK_API_KEY";
  } else if (stored.key[0] != '\0' && strcmp(stored.url, out->url) == 0) {
    memcpy(out->key, stored.key, sizeof(out->key));
    out->key_source = "the stored login";
  }
  explicit_bzero(&stored, sizeof(stored));
  // What would break out of a header is no key.
  if (strpbrk(out->key, "\r\n") != NULL) {
    return eco_error(ECO_INVALID_REQUEST, "the API key of %s holds a line end", out->key_source);
  }
  return eco_success();
}

static eco_status make_folders(const char *path) {
  char folder[CLI_PATH_MAX];
  (void)snprintf(folder, sizeof(folder), "%s", path);
  for (char *p = folder + 1; *p != '\0'; p++) {
    if (*p != '/') {
      continue;
    }
    *p = '\0';
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
      return eco_error(ECO_INVALID_REQUEST, "cannot make %s: %s", folder, strerror(errno));
    }
    *p = '/';
  }
  return eco_success();
}

eco_status cli_profile_store(const char *url, const char *key) {
  char path[CLI_PATH_MAX];
  char fresh[CLI_PATH_MAX + 8];
  ECO_TRY(cli_profile_path(path));
  ECO_TRY(make_folders(path));
  (void)snprintf(fresh, sizeof(fresh), "%s.XXXXXX", path);
  int fd = mkostemp(fresh, O_CLOEXEC);  // mode 0600
  FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
  if (f == NULL) {
    return eco_error(ECO_INVALID_REQUEST, "cannot write beside %s: %s", path, strerror(errno));
  }
  bool ok = fprintf(f, "# Written by `ecolink login`.\nurl = %s\n", url) > 0;
  ok = ok && (key[0] == '\0' || fprintf(f, "api_key = %s\n", key) > 0);
  ok = fflush(f) == 0 && ok && fsync(fd) == 0;
  ok = fclose(f) == 0 && ok && rename(fresh, path) == 0;
  if (!ok) {
    eco_status st = eco_error(ECO_INVALID_REQUEST, "cannot write %s: %s", path, strerror(errno));
    (void)unlink(fresh);
    return st;
  }
  return eco_success();
}
