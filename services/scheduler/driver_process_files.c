// Paths, durable writes, pid files and removal for the process driver.
#include "driver_process_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ecolink/clock.h"
#include "ecolink/pace.h"

enum { TREE_DEPTH_MAX = 128 };

static eco_status trouble(const char *what, const char *path) {
  return eco_error(ECO_INTERNAL, "%s %s: %s", what, path, strerror(errno));
}

// ---- directories ----
static eco_status make_dirs(const char *path, mode_t mode) {
  char part[PROCESS_PATH_MAX];
  size_t n = strlen(path);
  if (n == 0 || n >= sizeof(part)) {
    return eco_error(ECO_INTERNAL, "cannot use \"%s\" as a directory: the path is empty or too long", path);
  }
  memcpy(part, path, n + 1);
  for (char *slash = part + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
    *slash = '\0';
    if (mkdir(part, mode) != 0 && errno != EEXIST) {
      return trouble("cannot create", part);
    }
    *slash = '/';
  }
  if (mkdir(part, mode) != 0 && errno != EEXIST) {
    return trouble("cannot create", part);
  }
  return eco_success();
}

static eco_status join(const char *dir, const char *name, char out[PROCESS_DIR_MAX]) {
  int n = snprintf(out, PROCESS_DIR_MAX, "%s/%s", dir, name);
  if (n < 0 || n >= PROCESS_DIR_MAX) {
    return eco_error(ECO_INTERNAL, "the path %s is too long", dir);
  }
  return eco_success();
}

eco_status process_paths_open(const char *state_dir, const char *run_dir, process_paths *out) {
  ECO_TRY(join(state_dir, "lock", out->lock));
  ECO_TRY(join(state_dir, "records", out->records));
  ECO_TRY(join(state_dir, "logs", out->logs));
  ECO_TRY(join(state_dir, "homes", out->homes));
  if (run_dir[0] == '\0') {
    ECO_TRY(join(state_dir, "run", out->run));
  } else {
    ECO_TRY(join(run_dir, ".", out->run));
    out->run[strlen(out->run) - 2] = '\0';
  }
  ECO_TRY(make_dirs(out->records, 0755));
  ECO_TRY(make_dirs(out->logs, 0755));
  ECO_TRY(make_dirs(out->homes, 0755));
  ECO_TRY(make_dirs(out->run, 0755));
  // Records are nobody else's business; the way to a replica's own directory is open to it, the list of others is not.
  if (chmod(out->records, 0700) != 0 || chmod(out->logs, 0700) != 0 || chmod(out->homes, 0711) != 0) {
    return trouble("cannot set the mode of", state_dir);
  }
  return eco_success();
}

eco_status process_lock(const process_paths *paths, int wait_ms, int *fd_out) {
  int fd = open(paths->lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    return trouble("cannot open", paths->lock);
  }
  if (!eco_file_lock(fd, wait_ms)) {
    eco_status st =
        errno == EWOULDBLOCK
            ? eco_error(ECO_CONTROL_PLANE_UNAVAILABLE,
                        "%s is held by another scheduler: two must not share one state directory", paths->lock)
            : trouble("cannot lock", paths->lock);
    (void)close(fd);
    return st;
  }
  *fd_out = fd;
  return eco_success();
}

// ---- durable writes ----
static void file_path(const char *dir, int64_t instance_id, int replica_id, const char *suffix, char *out,
                      size_t size) {
  (void)snprintf(out, size, "%s/%" PRId64 "-%d%s", dir, instance_id, replica_id, suffix);
}

static eco_status sync_dir(const char *dir) {
  int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    return trouble("cannot open", dir);
  }
  eco_status st = fsync(fd) == 0 ? eco_success() : trouble("cannot sync", dir);
  (void)close(fd);
  return st;
}

static bool write_all(int fd, const char *p, size_t n) {
  while (n > 0) {
    ssize_t k = write(fd, p, n);
    if (k < 0 && errno == EINTR) {
      continue;
    }
    if (k <= 0) {
      return false;
    }
    p += k;
    n -= (size_t)k;
  }
  return true;
}

static eco_status write_file(const char *dir, const char *path, const char *text, size_t len, bool durable) {
  char temporary[PROCESS_PATH_MAX + 8];
  (void)snprintf(temporary, sizeof(temporary), "%s.tmp", path);
  int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd < 0) {
    return trouble("cannot create", temporary);
  }
  bool ok = write_all(fd, text, len) && (!durable || fsync(fd) == 0);
  eco_status st = ok ? eco_success() : trouble("cannot write", temporary);
  (void)close(fd);
  if (eco_ok(st) && rename(temporary, path) != 0) {
    st = trouble("cannot put in place", path);
  }
  if (!eco_ok(st)) {
    (void)unlink(temporary);
    return st;
  }
  return durable ? sync_dir(dir) : st;
}

eco_status process_record_write(const process_paths *paths, const process_record *record) {
  char path[PROCESS_PATH_MAX];
  eco_buf text;
  eco_buf_init(&text, PROCESS_RECORD_BYTES_MAX - 1);
  eco_status st;
  if (!process_record_format(record, &text)) {
    st = eco_error(ECO_INTERNAL, "the record of replica %" PRId64 "-%d is too long", record->instance_id,
                   record->replica_id);
  } else {
    file_path(paths->records, record->instance_id, record->replica_id, ".record", path, sizeof(path));
    st = write_file(paths->records, path, text.data, text.len, true);
  }
  eco_buf_free(&text);
  return st;
}

eco_status process_record_read(const process_paths *paths, int64_t instance_id, int replica_id, process_record *out) {
  char path[PROCESS_PATH_MAX];
  char text[PROCESS_RECORD_BYTES_MAX];
  file_path(paths->records, instance_id, replica_id, ".record", path, sizeof(path));
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) {
    return errno == ENOENT ? eco_error(ECO_NOT_FOUND, "no record %s", path) : trouble("cannot open", path);
  }
  size_t len = 0;
  ssize_t n = 0;
  while (len < sizeof(text) && (n = read(fd, text + len, sizeof(text) - len)) > 0) {
    len += (size_t)n;
  }
  eco_status st = n < 0 ? trouble("cannot read", path) : eco_success();
  (void)close(fd);
  if (eco_ok(st) &&
      (!process_record_parse(text, len, out) || out->instance_id != instance_id || out->replica_id != replica_id)) {
    char aside[PROCESS_PATH_MAX + 16];
    (void)snprintf(aside, sizeof(aside), "%s.damaged", path);
    (void)rename(path, aside);
    st = eco_error(ECO_INTERNAL, "the record %s is damaged and was put aside as %s.damaged", path, path);
  }
  return st;
}

eco_status process_record_remove(const process_paths *paths, int64_t instance_id, int replica_id) {
  char path[PROCESS_PATH_MAX];
  file_path(paths->records, instance_id, replica_id, ".record", path, sizeof(path));
  if (unlink(path) != 0 && errno != ENOENT) {
    return trouble("cannot remove", path);
  }
  return sync_dir(paths->records);
}

static eco_status each(const char *dir, const char *suffix, process_name_fn fn, void *arg) {
  DIR *d = opendir(dir);
  if (d == NULL) {
    return trouble("cannot list", dir);
  }
  for (struct dirent *e; (e = readdir(d)) != NULL;) {
    int64_t instance_id = 0;
    int replica_id = 0;
    if (process_name_parse(e->d_name, suffix, &instance_id, &replica_id)) {
      fn(arg, instance_id, replica_id);
    }
  }
  (void)closedir(d);
  return eco_success();
}

eco_status process_records_each(const process_paths *paths, process_name_fn fn, void *arg) {
  return each(paths->records, ".record", fn, arg);
}

// ---- pid files ----
eco_status process_pidfile_write(const process_paths *paths, const process_record *record) {
  char path[PROCESS_PATH_MAX];
  char text[24];
  file_path(paths->run, record->instance_id, record->replica_id, ".pid", path, sizeof(path));
  int n = snprintf(text, sizeof(text), "%d\n", record->pid);
  return write_file(paths->run, path, text, (size_t)n, false);
}

void process_pidfile_remove(const process_paths *paths, int64_t instance_id, int replica_id) {
  char path[PROCESS_PATH_MAX];
  file_path(paths->run, instance_id, replica_id, ".pid", path, sizeof(path));
  (void)unlink(path);
}

eco_status process_pidfiles_each(const process_paths *paths, process_name_fn fn, void *arg) {
  return each(paths->run, ".pid", fn, arg);
}

// ---- what a replica leaves ----
void process_log_path(const process_paths *paths, int64_t instance_id, int replica_id, char out[PROCESS_PATH_MAX]) {
  file_path(paths->logs, instance_id, replica_id, ".log", out, PROCESS_PATH_MAX);
}

void process_home_path(const process_paths *paths, int64_t instance_id, int replica_id, char out[PROCESS_PATH_MAX]) {
  file_path(paths->homes, instance_id, replica_id, "", out, PROCESS_PATH_MAX);
}

eco_status process_home_make(const process_paths *paths, int64_t instance_id, int replica_id, uid_t uid, gid_t gid) {
  char path[PROCESS_PATH_MAX];
  process_home_path(paths, instance_id, replica_id, path);
  if (mkdir(path, 0700) != 0 && errno != EEXIST) {
    return trouble("cannot create", path);
  }
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) {
    return trouble("cannot open", path);
  }
  eco_status st = eco_success();
  if ((geteuid() == 0 && fchown(fd, uid, gid) != 0) || fchmod(fd, 0700) != 0) {
    st = trouble("cannot hand over", path);
  }
  (void)close(fd);
  return st;
}

// Takes dir_fd over. By descriptors and O_NOFOLLOW only: a tenant may swap names while we walk.
static eco_status remove_within(int dir_fd, int depth) {  // NOLINT(misc-no-recursion): bounded by TREE_DEPTH_MAX
  if (depth > TREE_DEPTH_MAX) {
    (void)close(dir_fd);
    return eco_error(ECO_INTERNAL, "a private directory is nested deeper than %d", TREE_DEPTH_MAX);
  }
  DIR *d = fdopendir(dir_fd);
  if (d == NULL) {
    (void)close(dir_fd);
    return eco_error(ECO_INTERNAL, "cannot list a private directory: %s", strerror(errno));
  }
  eco_status st = eco_success();
  for (struct dirent *e; eco_ok(st) && (e = readdir(d)) != NULL;) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || unlinkat(dir_fd, e->d_name, 0) == 0) {
      continue;
    }
    int fd = openat(dir_fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) {
      st = remove_within(fd, depth + 1);
    }
    if (eco_ok(st) && unlinkat(dir_fd, e->d_name, AT_REMOVEDIR) != 0 && errno != ENOENT) {
      st = trouble("cannot remove", e->d_name);
    }
  }
  (void)closedir(d);
  return st;
}

eco_status process_leavings_remove(const process_paths *paths, int64_t instance_id, int replica_id) {
  char path[PROCESS_PATH_MAX];
  process_log_path(paths, instance_id, replica_id, path);
  if (unlink(path) != 0 && errno != ENOENT) {
    return trouble("cannot remove", path);
  }
  process_home_path(paths, instance_id, replica_id, path);
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) {
    return errno == ENOENT ? eco_success() : trouble("cannot open", path);
  }
  ECO_TRY(remove_within(fd, 0));
  return rmdir(path) == 0 || errno == ENOENT ? eco_success() : trouble("cannot remove", path);
}
