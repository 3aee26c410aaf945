// Path normalisation; the contract is in paths.h.
#include "paths.h"

#include <string.h>

// Directories that an image needs for itself; the kernel's own would not even mount.
static const char *const RESERVED[] = {"/bin",  "/boot", "/dev", "/etc",  "/lib", "/lib32", "/lib64",
                                       "/proc", "/root", "/run", "/sbin", "/sys", "/usr",   "/var"};

static registry_path_verdict check_bytes(const char *in) {
  size_t n = strlen(in);
  if (n == 0) {
    return REGISTRY_PATH_EMPTY;
  }
  if (n > REGISTRY_PATH_MAX) {
    return REGISTRY_PATH_TOO_LONG;
  }
  for (size_t i = 0; i < n; i++) {
    if ((unsigned char)in[i] < 0x20 || in[i] == 0x7f) {
      return REGISTRY_PATH_BAD_BYTE;
    }
  }
  return REGISTRY_PATH_OK;
}

// Appends the segments of `in` to out[0..*len), each with a slash before it.
static registry_path_verdict append_segments(const char *in, char *out, size_t *len) {
  while (*in != '\0') {
    size_t n = strcspn(in, "/");
    if (n == 2 && in[0] == '.' && in[1] == '.') {
      return REGISTRY_PATH_DOT_DOT;
    }
    if (n > 0 && !(n == 1 && in[0] == '.')) {
      if (*len + 1 + n > REGISTRY_PATH_MAX) {
        return REGISTRY_PATH_TOO_LONG;
      }
      out[(*len)++] = '/';
      memcpy(out + *len, in, n);
      *len += n;
    }
    in += n + (in[n] == '/');
  }
  out[*len] = '\0';
  return REGISTRY_PATH_OK;
}

// `path` is `dir` or lies under it; both in normal form.
static bool is_under(const char *path, const char *dir) {
  size_t n = strlen(dir);
  return strncmp(path, dir, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

registry_path_verdict registry_mount_normalise(const char *in, char out[REGISTRY_PATH_MAX + 1]) {
  registry_path_verdict verdict = check_bytes(in);
  if (verdict != REGISTRY_PATH_OK) {
    return verdict;
  }
  if (in[0] != '/') {
    return REGISTRY_PATH_RELATIVE;
  }
  size_t len = 0;
  verdict = append_segments(in, out, &len);
  if (verdict != REGISTRY_PATH_OK) {
    return verdict;
  }
  if (len == 0) {
    return REGISTRY_PATH_RESERVED;
  }
  for (size_t i = 0; i < sizeof RESERVED / sizeof RESERVED[0]; i++) {
    if (is_under(out, RESERVED[i])) {
      return REGISTRY_PATH_RESERVED;
    }
  }
  return REGISTRY_PATH_OK;
}

registry_path_verdict registry_path_normalise(const char *mount, const char *in, char out[REGISTRY_PATH_MAX + 1]) {
  registry_path_verdict verdict = check_bytes(in);
  if (verdict != REGISTRY_PATH_OK) {
    return verdict;
  }
  size_t len = 0;
  if (in[0] != '/') {
    len = strlen(mount);
    if (len > REGISTRY_PATH_MAX) {
      return REGISTRY_PATH_TOO_LONG;
    }
    memcpy(out, mount, len);
  }
  verdict = append_segments(in, out, &len);
  if (verdict != REGISTRY_PATH_OK) {
    return verdict;
  }
  return is_under(out, mount) ? REGISTRY_PATH_OK : REGISTRY_PATH_ESCAPES;
}

bool registry_mounts_overlap(const char *a, const char *b) {
  return is_under(a, b) || is_under(b, a);
}

const char *registry_path_complaint(registry_path_verdict verdict) {
  switch (verdict) {
    case REGISTRY_PATH_OK:
      return "";
    case REGISTRY_PATH_EMPTY:
      return "a path is needed";
    case REGISTRY_PATH_TOO_LONG:
      return "the path is longer than 1024 bytes";
    case REGISTRY_PATH_BAD_BYTE:
      return "the path holds a control character";
    case REGISTRY_PATH_DOT_DOT:
      return "the path may not hold '..'";
    case REGISTRY_PATH_ESCAPES:
      return "the path must lie under the filesystem's mount_path";
    case REGISTRY_PATH_RELATIVE:
      return "the path must be absolute";
    case REGISTRY_PATH_RESERVED:
      return "this directory belongs to the container's own system: choose another, e.g. /shared";
  }
  return "the path is not usable";
}
