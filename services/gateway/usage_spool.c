// The usage spool's file; see usage_spool.h.
#include "usage_spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ecolink/id.h"
#include "ecolink/log.h"
#include "ecolink/pace.h"

enum {
  MAGIC = 0x31535545,
  HEAD = 12,
  BATCH_MAX = 4 * 1024 * 1024,
  LOCK_WAIT_MS = 100,  // a write or two of the other process
};

static uint32_t check_of(const uint8_t *p, size_t n) {
  uint8_t sum[32];
  uint32_t out = 0;
  eco_sha256(p, n, sum);
  memcpy(&out, sum, sizeof out);
  return out;
}

static int open_in(const char *dir, const char *name) {
  char path[4096];
  if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path) {
    return -1;
  }
  return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

// ---- what the files say; under their lock ----

static void write_ack(gw_spool *s) {
  const uint64_t ack[2] = {(uint64_t)s->acked, s->round};
  if (s->ack_fd >= 0 && pwrite(s->ack_fd, ack, sizeof ack, 0) != sizeof ack) {
    eco_log(ECO_LOG_WARN, "usage spool: cannot note what was taken; it may be sent again");
  }
}

// The end of the last whole record behind `at`, so that a torn one is overwritten.
static int64_t sound_end(const gw_spool *s, int64_t at, int64_t size) {
  uint32_t head[3];
  while (at + HEAD <= size && pread(s->fd, head, HEAD, at) == HEAD && head[0] == MAGIC && head[1] <= BATCH_MAX &&
         at + HEAD + (int64_t)head[1] <= size) {
    at += HEAD + (int64_t)head[1];
  }
  return at;
}

static void refresh(gw_spool *s) {
  struct stat info;
  uint64_t ack[2] = {0, 0};
  if (s->ack_fd < 0 || fstat(s->fd, &info) != 0) {
    return;  // in memory: nobody else's
  }
  if (pread(s->ack_fd, ack, sizeof ack, 0) < (ssize_t)sizeof ack[0]) {
    ack[0] = 0;
  }
  if (ack[1] != s->round || info.st_size < s->size) {
    s->size = 0;  // emptied meanwhile
    s->round = ack[1];
  }
  if (info.st_size > s->size) {
    s->size = sound_end(s, s->size, info.st_size);
  }
  s->acked = (int64_t)ack[0];
  if (ack[0] > (uint64_t)s->size) {
    s->acked = 0;
    write_ack(s);  // else it would count once the file has grown to it
  }
}

// False: busy, and nothing may be done.
static bool lock(gw_spool *s) {
  if (!eco_file_lock(s->fd, LOCK_WAIT_MS)) {
    return false;
  }
  refresh(s);
  return true;
}

static void unlock(const gw_spool *s) {
  (void)flock(s->fd, LOCK_UN);
}

static void acknowledge(gw_spool *s, int64_t end) {
  s->acked = end;
  if (s->acked >= s->size) {
    // First the mark, then the file: a crash between the two only sends known ids again.
    s->acked = 0;
    s->round++;
    write_ack(s);
    if (ftruncate(s->fd, 0) == 0) {
      s->size = 0;
      return;
    }
    s->acked = s->size;
  }
  write_ack(s);
}

eco_status gw_spool_open(gw_spool *s, const char *dir, int64_t max_bytes) {
  *s = (gw_spool){.fd = -1, .ack_fd = -1, .max_bytes = max_bytes};
  if (!dir[0]) {
    s->fd = memfd_create("ecolink-usage", MFD_CLOEXEC);
    return s->fd >= 0 ? eco_success() : eco_error(ECO_INTERNAL, "usage spool: %m");
  }
  if (mkdir(dir, 0700) != 0 && access(dir, W_OK) != 0) {
    return eco_error(ECO_INTERNAL, "usage spool: cannot use folder %s: %m", dir);
  }
  s->fd = open_in(dir, "usage.spool");
  s->ack_fd = open_in(dir, "usage.ack");
  if (s->fd < 0 || s->ack_fd < 0) {
    gw_spool_close(s);
    return eco_error(ECO_INTERNAL, "usage spool: cannot open the files in %s: %m", dir);
  }
  if (lock(s)) {
    unlock(s);
  } else if (errno != EWOULDBLOCK) {  // busy is well: the first call that gets it reads what is there
    eco_status st = eco_error(ECO_INTERNAL, "usage spool: cannot lock the file in %s: %m", dir);
    gw_spool_close(s);
    return st;
  }
  return eco_success();
}

void gw_spool_close(gw_spool *s) {
  if (s->fd >= 0) {
    close(s->fd);
  }
  if (s->ack_fd >= 0) {
    close(s->ack_fd);
  }
  s->fd = -1;
  s->ack_fd = -1;
}

static bool append(gw_spool *s, const Ecolink__V1__UsageBatch *batch) {
  size_t n = ecolink__v1__usage_batch__get_packed_size(batch);
  bool fits = n <= BATCH_MAX && s->size + HEAD + (int64_t)n <= s->max_bytes;
  uint8_t *record = fits ? malloc(HEAD + n) : NULL;
  if (!record) {
    return false;
  }
  ecolink__v1__usage_batch__pack(batch, record + HEAD);
  uint32_t head[3] = {MAGIC, (uint32_t)n, check_of(record + HEAD, n)};
  memcpy(record, head, HEAD);
  // Nothing of a torn record stays behind this one, to be taken for a whole one.
  bool kept = ftruncate(s->fd, s->size) == 0 && pwrite(s->fd, record, HEAD + n, s->size) == (ssize_t)(HEAD + n);
  s->size += kept ? HEAD + (int64_t)n : 0;
  free(record);
  return kept;
}

gw_spool_result gw_spool_append(gw_spool *s, const Ecolink__V1__UsageBatch *batch) {
  if (!lock(s)) {
    return GW_SPOOL_BUSY;
  }
  bool kept = append(s, batch);
  unlock(s);
  s->dropped += kept ? 0 : (int64_t)batch->n_records;
  return kept ? GW_SPOOL_KEPT : GW_SPOOL_FULL;
}

static Ecolink__V1__UsageBatch *next(gw_spool *s, int64_t *end) {
  while (s->acked + HEAD <= s->size) {
    uint32_t head[3];
    if (pread(s->fd, head, HEAD, s->acked) != HEAD || head[0] != MAGIC ||
        s->acked + HEAD + (int64_t)head[1] > s->size) {
      break;
    }
    uint8_t *payload = malloc(head[1] + 1);
    Ecolink__V1__UsageBatch *batch = NULL;
    if (payload && pread(s->fd, payload, head[1], s->acked + HEAD) == (ssize_t)head[1] &&
        check_of(payload, head[1]) == head[2]) {
      batch = ecolink__v1__usage_batch__unpack(NULL, head[1], payload);
    }
    free(payload);
    *end = s->acked + HEAD + (int64_t)head[1];
    if (batch) {
      return batch;
    }
    eco_log(ECO_LOG_ERROR, "usage spool: a damaged batch was skipped");
    acknowledge(s, *end);
  }
  if (s->acked < s->size) {
    eco_log(ECO_LOG_ERROR, "usage spool: damaged; the rest is given up");
    acknowledge(s, s->size);
  }
  return NULL;
}

Ecolink__V1__UsageBatch *gw_spool_next(gw_spool *s, int64_t *end) {
  if (!lock(s)) {
    return NULL;
  }
  Ecolink__V1__UsageBatch *batch = next(s, end);
  s->taken_round = s->round;
  unlock(s);
  return batch;
}

void gw_spool_ack(gw_spool *s, int64_t end) {
  if (!lock(s)) {
    return;
  }
  if (s->round == s->taken_round && end > s->acked) {
    acknowledge(s, end);
  }
  unlock(s);
}
