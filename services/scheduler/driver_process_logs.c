// Reading a replica's log by position, and keeping it bounded.
//
// The replica writes to the file itself (O_APPEND), so that it needs no scheduler to live. Its front is given back with
// FALLOC_FL_PUNCH_HOLE: positions stay true for ever, no byte moves, no line is lost between a copy and a truncation.
//
//   0 ........ hole ........ | data, at most keep_bytes and a step | <- appended
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver_process_files.h"

enum {
  READ_BYTES = 256 * 1024,
  TAIL_BYTES_MAX = 4 * 1024 * 1024,  // how far back the last lines are looked for
  LINE_BYTES_MAX = 16 * 1024,        // a longer line is told in pieces
};

// Where data begins at or after `offset`: past the hole, and there at the first whole line.
static int64_t data_start(int fd, int64_t offset, int64_t size) {
  off_t at = lseek(fd, offset, SEEK_DATA);
  if (at < 0 || at <= offset) {
    return at < 0 && errno == ENXIO ? size : offset;
  }
  char block[4096];
  for (off_t pos = at; pos < size;) {
    ssize_t n = pread(fd, block, sizeof(block), pos);
    if (n <= 0) {
      break;
    }
    const char *end = memchr(block, '\n', (size_t)n);
    if (end != NULL) {
      return pos + (end - block) + 1;
    }
    pos += n;
  }
  return at;
}

static int64_t tail_offset(int fd, int64_t size, int max_lines) {
  int64_t from = size > TAIL_BYTES_MAX ? size - TAIL_BYTES_MAX : 0;
  from = data_start(fd, from, size);
  size_t len = (size_t)(size - from);
  char *text = len > 0 ? malloc(len) : NULL;
  if (text == NULL) {
    return size;
  }
  ssize_t n = pread(fd, text, len, from);
  int64_t start = n > 0 ? from + (int64_t)process_tail_start(text, (size_t)n, max_lines) : size;
  free(text);
  return start;
}

// Tells whole lines out of text[0..len). `ended`: a last line without its end counts too. Returns the bytes told.
static size_t tell_lines(const char *text, size_t len, bool ended, int *lines_left, replica_log_fn fn, void *arg) {
  size_t at = 0;
  while (at<len && * lines_left> 0) {
    size_t room = len - at < LINE_BYTES_MAX ? len - at : LINE_BYTES_MAX;
    const char *end = memchr(text + at, '\n', room);
    if (end == NULL && room < LINE_BYTES_MAX && !ended) {
      break;  // the rest of this line is still being written
    }
    size_t n = end ? (size_t)(end - (text + at)) : room;
    fn(arg, text + at, n > 0 && text[at + n - 1] == '\r' ? n - 1 : n);
    at += n + (end ? 1 : 0);
    --*lines_left;
  }
  return at;
}

eco_status process_log_read(const process_paths *paths, int64_t instance_id, int replica_id, int64_t offset,
                            int max_lines, bool ended, replica_log_fn fn, void *arg, int64_t *next_offset) {
  char path[PROCESS_PATH_MAX];
  process_log_path(paths, instance_id, replica_id, path);
  *next_offset = offset > 0 ? offset : 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) {
    // Not started yet, or forgotten: there is nothing to read, which is no failure.
    return errno == ENOENT ? eco_success() : eco_error(ECO_INTERNAL, "cannot open %s: %s", path, strerror(errno));
  }
  struct stat info;
  char *text = malloc(READ_BYTES);
  eco_status st = eco_success();
  if (text == NULL || fstat(fd, &info) != 0) {
    st = eco_error(ECO_INTERNAL, "cannot read %s", path);
    goto cleanup;
  }
  int64_t at = offset < 0 ? tail_offset(fd, info.st_size, max_lines) : offset > info.st_size ? info.st_size : offset;
  at = data_start(fd, at, info.st_size);
  for (int left = max_lines; left > 0;) {
    ssize_t n = pread(fd, text, READ_BYTES, at);
    if (n < 0) {
      st = eco_error(ECO_INTERNAL, "cannot read %s: %s", path, strerror(errno));
      break;
    }
    size_t told = tell_lines(text, (size_t)n, ended && n < READ_BYTES, &left, fn, arg);
    at += (int64_t)told;
    if (told == 0 || n < READ_BYTES) {
      break;
    }
  }
  *next_offset = at;
cleanup:
  free(text);
  (void)close(fd);
  return st;
}

void process_log_bound(const char *path, int64_t keep_bytes) {
  enum { BLOCK = 4096 };
  struct stat info;
  int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) {
    return;
  }
  // st_blocks counts what is really held. A quarter more than wanted may pile up, so that holes are punched rarely.
  if (fstat(fd, &info) == 0 && (int64_t)info.st_blocks * 512 > keep_bytes + keep_bytes / 4 &&
      info.st_size > keep_bytes) {
    off_t drop = (info.st_size - keep_bytes) / BLOCK * BLOCK;
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, drop) != 0) {
      // A file system without holes: start over rather than fill the disk.
      if (ftruncate(fd, 0) != 0) {
        (void)close(fd);
        return;
      }
    }
  }
  (void)close(fd);
}
