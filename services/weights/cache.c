// Files of the volume.
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

__attribute__((format(printf, 3, 4))) static bool join(const weights_cache *c, char out[WEIGHTS_PATH_MAX],
                                                       const char *fmt, ...) {
  va_list ap;
  int n = snprintf(out, WEIGHTS_PATH_MAX, "%s/", c->dir);
  if (n < 0 || n >= WEIGHTS_PATH_MAX) {
    return false;
  }
  va_start(ap, fmt);
  int m = vsnprintf(out + n, (size_t)(WEIGHTS_PATH_MAX - n), fmt, ap);
  va_end(ap);
  return m >= 0 && m < WEIGHTS_PATH_MAX - n;
}

static eco_status trouble(const char *doing, const char *path) {
  return eco_error(ECO_INTERNAL, "%s %.300s: %s", doing, path, strerror(errno));
}

// Every folder above the last part of the path.
static eco_status make_parents(const char *path) {
  char part[WEIGHTS_PATH_MAX];
  (void)snprintf(part, sizeof(part), "%s", path);
  for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    if (mkdir(part, 0775) != 0 && errno != EEXIST) {
      return trouble("cannot make", part);
    }
    *slash = '/';
  }
  return eco_success();
}

eco_status weights_cache_open(const char *cache, const char *repo, weights_cache *out) {
  char folder[256];
  char path[WEIGHTS_PATH_MAX];
  *out = (weights_cache){.lock_fd = -1};
  if (!weights_folder(repo, folder, sizeof(folder))) {
    return eco_error(ECO_INVALID_REQUEST, "%.200s is no repository's name", repo);
  }
  int n = snprintf(out->dir, sizeof(out->dir), "%s/%s", cache, folder);
  if (n < 0 || (size_t)n >= sizeof(out->dir) / 2 || !join(out, path, "blobs/x")) {
    return eco_error(ECO_INVALID_REQUEST, "the cache's path is too long");
  }
  return make_parents(path);
}

eco_status weights_cache_lock(weights_cache *c, bool *taken) {
  char path[WEIGHTS_PATH_MAX];
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  *taken = false;
  (void)join(c, path, ".ecolink-lock");
  if (c->lock_fd < 0) {
    c->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0664);
  }
  if (c->lock_fd < 0) {
    return trouble("cannot open", path);
  }
  // of the open file: it ends with the process, and holds between the nodes that share the volume
  if (fcntl(c->lock_fd, F_OFD_SETLK, &whole) == 0) {
    *taken = true;
    return eco_success();
  }
  return errno == EAGAIN || errno == EACCES ? eco_success() : trouble("cannot lock", path);
}

void weights_cache_close(weights_cache *c) {
  if (c->lock_fd >= 0) {
    (void)close(c->lock_fd);
    c->lock_fd = -1;
  }
}

// ---- small files ----
static bool read_text(const char *path, char *out, size_t cap) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, out, cap - 1);
  if (fd >= 0) {
    (void)close(fd);
  }
  if (n <= 0) {
    return false;
  }
  out[n] = '\0';
  out[strcspn(out, "\r\n")] = '\0';
  return true;
}

// Whole or not at all.
static eco_status write_text(const char *path, const char *text) {
  char fresh[WEIGHTS_PATH_MAX + 8];
  ECO_TRY(make_parents(path));
  (void)snprintf(fresh, sizeof(fresh), "%s.new", path);
  int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0664);
  bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fsync(fd) == 0;
  if (fd >= 0) {
    (void)close(fd);
  }
  return ok && rename(fresh, path) == 0 ? eco_success() : trouble("cannot write", path);
}

// ---- what is there ----
bool weights_cache_is_complete(const weights_cache *c, const char *commit) {
  char path[WEIGHTS_PATH_MAX];
  return join(c, path, ".ecolink-complete-%s", commit) && access(path, F_OK) == 0;
}

bool weights_cache_has_revision(const weights_cache *c, const char *revision, char commit[WEIGHTS_HASH_MAX]) {
  char path[WEIGHTS_PATH_MAX];
  return weights_path_ok(revision) && join(c, path, "refs/%s", revision) && read_text(path, commit, WEIGHTS_HASH_MAX) &&
         weights_cache_is_complete(c, commit);
}

void weights_cache_blob(const weights_cache *c, const weights_file *f, bool incomplete, char out[WEIGHTS_PATH_MAX]) {
  (void)join(c, out, "blobs/%s%s", f->blob, incomplete ? ".incomplete" : "");
}

int64_t weights_cache_have(const weights_cache *c, const weights_file *f) {
  char path[WEIGHTS_PATH_MAX];
  struct stat s;
  weights_cache_blob(c, f, false, path);
  if (stat(path, &s) == 0 && s.st_size == f->size) {
    return f->size;
  }
  weights_cache_blob(c, f, true, path);
  // a whole one without its name was not verified yet
  return stat(path, &s) == 0 && s.st_size <= f->size ? (s.st_size < f->size ? s.st_size : 0) : 0;
}

eco_status weights_cache_keep(const weights_cache *c, const weights_file *f) {
  char from[WEIGHTS_PATH_MAX];
  char to[WEIGHTS_PATH_MAX];
  weights_cache_blob(c, f, true, from);
  weights_cache_blob(c, f, false, to);
  return rename(from, to) == 0 ? eco_success() : trouble("cannot name", to);
}

static eco_status link_file(const weights_cache *c, const char *commit, const weights_file *f) {
  char path[WEIGHTS_PATH_MAX];
  char target[WEIGHTS_PATH_MAX];
  size_t n = 0;
  if (!join(c, path, "snapshots/%s/%s", commit, f->path)) {
    return eco_error(ECO_INVALID_REQUEST, "a file's path is too long");
  }
  ECO_TRY(make_parents(path));
  for (const char *p = f->path; *p && n + 8 < sizeof(target); p++) {
    n += *p == '/' ? (size_t)snprintf(target + n, sizeof(target) - n, "../") : 0;
  }
  (void)snprintf(target + n, sizeof(target) - n, "../../blobs/%s", f->blob);
  if (symlink(target, path) == 0) {
    return eco_success();
  }
  if (errno != EEXIST || unlink(path) != 0 || symlink(target, path) != 0) {
    return trouble("cannot link", path);
  }
  return eco_success();
}

eco_status weights_cache_complete(const weights_cache *c, const char *revision, const weights_plan *plan) {
  char path[WEIGHTS_PATH_MAX];
  for (size_t i = 0; i < plan->count; i++) {
    ECO_TRY(link_file(c, plan->commit, &plan->files[i]));
  }
  if (strcmp(revision, plan->commit) != 0) {
    if (!weights_path_ok(revision) || !join(c, path, "refs/%s", revision)) {
      return eco_error(ECO_INVALID_REQUEST, "%.200s is no revision", revision);
    }
    ECO_TRY(write_text(path, plan->commit));
  }
  (void)join(c, path, ".ecolink-complete-%s", plan->commit);
  return write_text(path, "\n");
}

// ---- progress ----
void weights_cache_tell(const weights_cache *c, int64_t done, int64_t total) {
  char path[WEIGHTS_PATH_MAX];
  char text[64];
  (void)snprintf(text, sizeof(text), "%lld %lld\n", (long long)done, (long long)total);
  (void)join(c, path, ".ecolink-progress");
  eco_status st = write_text(path, text);
  (void)st;  // for those who watch; the download goes on without
}

// "<done> <total>", as written above.
static bool parse_progress(const char *text, int64_t *done, int64_t *total) {
  char *end = NULL;
  errno = 0;
  *done = strtoll(text, &end, 10);
  if (end == text || *end != ' ') {
    return false;
  }
  const char *second = end;
  *total = strtoll(second, &end, 10);
  return end != second && errno == 0 && *done >= 0 && *total >= *done;
}

bool weights_cache_told(const weights_cache *c, int64_t *done, int64_t *total) {
  char path[WEIGHTS_PATH_MAX];
  char text[64];
  return join(c, path, ".ecolink-progress") && read_text(path, text, sizeof(text)) && parse_progress(text, done, total);
}
