// Connection input and output; see io.h.
#include "io.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "loop.h"

static void closed_cb(uv_handle_t *h) {
  gw_io *io = h->data;
  io->fns->closed(io);
}

void gw_io_init(gw_io *io, gw_loop *loop, const gw_io_fns *fns) {
  memset(io, 0, sizeof *io);
  io->loop = loop;
  io->fns = fns;
  io->progress_ms = gw_loop_now(loop);
  uv_tcp_init(&loop->uv, &io->tcp);
  io->tcp.data = io;
}

static void alloc_cb(uv_handle_t *h, size_t suggested, uv_buf_t *buf) {
  (void)suggested;
  gw_io *io = h->data;
  *buf = io->fns->room ? io->fns->room(io) : uv_buf_init(NULL, 0);
  if (buf->len == 0) {
    *buf = uv_buf_init(io->loop->read_buffer, GW_READ_BUFFER);
  }
}

static void mark_later(gw_io *io) {
  if (!io->later) {
    io->later = true;
    io->later_next = io->loop->later;
    io->loop->later = io;
  }
}

static void mark_dirty(gw_io *io) {
  if (!io->dirty) {
    io->dirty = true;
    io->dirty_next = io->loop->dirty;
    io->loop->dirty = io;
  }
}

static void read_cb(uv_stream_t *s, ssize_t n, const uv_buf_t *buf) {
  gw_io *io = s->data;
  gw_loop_tick(io->loop);
  if (n > 0) {
    io->received += (uint64_t)n;
    if (io->turn != io->loop->turn) {
      io->turn = io->loop->turn;
      io->reads = 0;
    }
    if (++io->reads >= GW_READS_PER_TURN) {
      uv_read_stop(s);
      io->reading = false;
      mark_later(io);
    }
    io->fns->data(io, buf->base, (size_t)n);
  } else if (n == UV_EOF) {
    uv_read_stop(s);
    io->reading = false;
    io->want_read = false;
    io->fns->eof(io);
  } else if (n < 0) {
    io->fns->fail(io, (int)n);
  }
}

void gw_io_read(gw_io *io, bool on) {
  io->want_read = on;
  if (io->closing || on == io->reading) {
    return;
  }
  if (!on) {
    uv_read_stop((uv_stream_t *)&io->tcp);
    io->reading = false;
  } else if (!io->later || io->turn != io->loop->turn || io->reads < GW_READS_PER_TURN) {
    io->reading = uv_read_start((uv_stream_t *)&io->tcp, alloc_cb, read_cb) == 0;
  }
}

static void queue_bytes(gw_io *io, const char *p, size_t n) {
  io->out_bytes += n;
  while (n > 0) {
    gw_block *b = io->out_tail;
    // Blocks that a uv_write refers to may still be appended to: their iovecs end before what is added.
    if (!b || b->len == GW_BLOCK_DATA) {
      b = gw_block_get(&io->loop->pool);
      if (io->out_tail) {
        io->out_tail->next = b;
      } else {
        io->out_head = b;
      }
      io->out_tail = b;
    }
    size_t room = GW_BLOCK_DATA - b->len;
    size_t take = n < room ? n : room;
    memcpy(b->data + b->len, p, take);
    b->len += (uint32_t)take;
    p += take;
    n -= take;
  }
}

// Takes n sent bytes off the front of the queue.
static void consume(gw_io *io, size_t n) {
  io->out_bytes -= n;
  io->sent += n;
  io->progress_ms = gw_loop_now(io->loop);
  while (n > 0) {
    gw_block *b = io->out_head;
    assert(b);  // nothing is sent that was not queued
    size_t have = b->len - b->off;
    if (n < have) {
      b->off += (uint32_t)n;
      return;
    }
    n -= have;
    io->out_head = b->next;
    io->out_tail = io->out_head ? io->out_tail : NULL;
    gw_block_put(&io->loop->pool, b);
  }
}

static void after_progress(gw_io *io) {
  if (io->out_bytes == 0 && io->shut_after && !io->shut) {
    uv_os_fd_t fd;
    io->shut = true;
    if (uv_fileno((uv_handle_t *)&io->tcp, &fd) == 0) {
      (void)shutdown(fd, SHUT_WR);
    }
  }
  if (io->congested && io->out_bytes < GW_OUT_LOW) {
    io->congested = false;
    io->fns->drained(io);
  }
}

static unsigned queue_iov(gw_io *io, uv_buf_t *iov, size_t *bytes) {
  unsigned n = 0;
  *bytes = 0;
  for (gw_block *b = io->out_head; b && n < GW_IOV_MAX; b = b->next) {
    iov[n] = uv_buf_init((char *)b->data + b->off, b->len - b->off);
    *bytes += iov[n++].len;
  }
  return n;
}

static void write_cb(uv_write_t *req, int status) {
  gw_io *io = req->data;
  gw_slab_put(&io->loop->writes, req);
  gw_loop_tick(io->loop);
  io->writing = false;
  if (io->closing) {
    return;  // the blocks are given back when the handle is closed
  }
  if (status < 0) {
    io->fns->fail(io, status);
    return;
  }
  consume(io, io->wreq_bytes);
  mark_dirty(io);
  after_progress(io);
}

// What the kernel takes at once: bytes, or a libuv error. The socket's own calls: the way through a file's costs more.
static int try_write(gw_io *io, const uv_buf_t *iov, unsigned n) {
  uv_os_fd_t fd = -1;
  ssize_t done = -1;
  (void)uv_fileno((uv_handle_t *)&io->tcp, &fd);
  do {
    if (n == 1) {
      done = send(fd, iov[0].base, iov[0].len, MSG_NOSIGNAL);
    } else {
      struct msghdr m = {.msg_iov = (struct iovec *)iov, .msg_iovlen = n};  // uv_buf_t is an iovec on Unix, by its docs
      done = sendmsg(fd, &m, MSG_NOSIGNAL);
    }
  } while (done < 0 && errno == EINTR);
  return done >= 0 ? (int)done : errno == EAGAIN || errno == ENOBUFS ? UV_EAGAIN : -errno;
}

// Has the kernel say when it has taken what is queued. False: it failed.
static bool start_write(gw_io *io) {
  uv_buf_t iov[GW_IOV_MAX];
  unsigned n = queue_iov(io, iov, &io->wreq_bytes);
  uv_write_t *req = gw_slab_get(&io->loop->writes);
  req->data = io;
  io->writing = true;
  int error = uv_write(req, (uv_stream_t *)&io->tcp, iov, n, write_cb);
  if (error) {
    gw_slab_put(&io->loop->writes, req);
    io->writing = false;
    io->fns->fail(io, error);
  }
  return error == 0;
}

void gw_io_flush(gw_io *io) {
  if (io->closing) {
    return;
  }
  if (io->error) {
    int error = io->error;
    io->error = 0;
    io->fns->fail(io, error);
    return;
  }
  while (io->open && !io->writing && io->out_bytes > 0) {
    uv_buf_t iov[GW_IOV_MAX];
    size_t bytes = 0;
    unsigned n = queue_iov(io, iov, &bytes);
    int done = io->full ? UV_EAGAIN : try_write(io, iov, n);
    io->full = false;
    if (done < 0 && done != UV_EAGAIN) {
      io->fns->fail(io, done);
      return;
    }
    if (done > 0) {
      consume(io, (size_t)done);
    }
    if ((done < 0 || (size_t)done < bytes) && !start_write(io)) {
      return;
    }
  }
  after_progress(io);
}

void gw_io_writev(gw_io *io, const uv_buf_t *iov, unsigned n) {
  size_t total = 0;
  for (unsigned i = 0; i < n; i++) {
    total += iov[i].len;
  }
  if (io->closing || io->error || total == 0) {
    return;
  }
  size_t skip = 0;
  if (io->open && io->out_bytes == 0 && !io->writing) {
    io->progress_ms = gw_loop_now(io->loop);
    if (total > GW_OUT_SMALL) {
      int done = try_write(io, iov, n);
      if (done < 0 && done != UV_EAGAIN) {
        io->error = done;
        mark_dirty(io);
        return;
      }
      skip = done > 0 ? (size_t)done : 0;
      io->sent += skip;
    }
  }
  for (unsigned i = 0; i < n; i++) {
    size_t used = skip < iov[i].len ? skip : iov[i].len;
    skip -= used;
    queue_bytes(io, iov[i].base + used, iov[i].len - used);
  }
  io->congested = io->congested || io->out_bytes > GW_OUT_HIGH;
  if (io->out_bytes > 0) {
    mark_dirty(io);
  }
}

// Queues [from, to) of what the buffers hold together.
static void queue_part(gw_io *io, const uv_buf_t *iov, unsigned n, size_t from, size_t to) {
  size_t at = 0;
  for (unsigned i = 0; i < n && at < to; at += iov[i].len, i++) {
    size_t begin = from > at ? from - at : 0;
    size_t end = to - at < iov[i].len ? to - at : iov[i].len;
    if (begin < end) {
      queue_bytes(io, iov[i].base + begin, end - begin);
    }
  }
  mark_dirty(io);
}

// Writes the queue and then the buffers, as far as the kernel takes them now. Returns how much of the buffers it took.
static size_t write_with_queue(gw_io *io, const uv_buf_t *iov, unsigned n) {
  uv_buf_t all[2 * GW_IOV_MAX];
  size_t queued = 0;
  unsigned k = queue_iov(io, all, &queued);
  memcpy(all + k, iov, n * sizeof *iov);
  int done = try_write(io, all, k + n);
  if (done < 0 && done != UV_EAGAIN) {
    io->error = done;
    mark_dirty(io);
    return 0;
  }
  size_t sent = done > 0 ? (size_t)done : 0;
  size_t of_queue = sent < queued ? sent : queued;
  if (sent > 0) {
    consume(io, of_queue);
    io->sent += sent - of_queue;
  }
  return sent - of_queue;
}

size_t gw_io_offer(gw_io *io, const uv_buf_t *iov, unsigned n) {
  size_t total = 0;
  for (unsigned i = 0; i < n; i++) {
    total += iov[i].len;
  }
  if (io->closing || io->error || total == 0) {
    return 0;
  }
  if (io->out_bytes == 0) {
    io->progress_ms = gw_loop_now(io->loop);
  }
  if (io->out_bytes + total <= GW_OUT_SMALL) {
    queue_part(io, iov, n, 0, total);
    return total;
  }
  if (!io->open || io->writing) {
    io->congested = true;
    return 0;
  }
  size_t taken = write_with_queue(io, iov, n);
  if (taken == total || io->error) {
    return taken;
  }
  // The kernel is full. It tells when there is room again only if something waits to be written: one block does.
  size_t queued = total - taken < GW_BLOCK_DATA ? total - taken : GW_BLOCK_DATA;
  queue_part(io, iov, n, taken, taken + queued);
  io->full = true;
  io->congested = true;
  return taken + queued;
}

void gw_io_fail_later(gw_io *io, int error) {
  io->error = error;
  mark_dirty(io);
}

void gw_io_write(gw_io *io, const void *p, size_t n) {
  uv_buf_t iov = uv_buf_init((char *)p, (unsigned)n);
  gw_io_writev(io, &iov, 1);
}

void gw_io_shut(gw_io *io) {
  io->shut_after = true;
  mark_dirty(io);
}

void gw_io_later(gw_io *io) {
  io->later_event = true;
  mark_later(io);
}

static void free_queue(gw_io *io) {
  while (io->out_head) {
    gw_block *b = io->out_head;
    io->out_head = b->next;
    gw_block_put(&io->loop->pool, b);
  }
  io->out_tail = NULL;
  io->out_bytes = 0;
}

static void closing_cb(uv_handle_t *h) {
  gw_io *io = h->data;
  free_queue(io);
  closed_cb(h);
}

static void unlink_from(gw_io **list, gw_io *io, size_t next_offset) {
  while (*list) {
    gw_io **next = (gw_io **)(void *)((char *)*list + next_offset);
    if (*list == io) {
      *list = *next;
      return;
    }
    list = next;
  }
}

void gw_io_close(gw_io *io) {
  if (io->closing) {
    return;
  }
  io->closing = true;
  if (io->dirty) {
    unlink_from(&io->loop->dirty, io, offsetof(gw_io, dirty_next));
  }
  if (io->later) {
    unlink_from(&io->loop->later, io, offsetof(gw_io, later_next));
  }
  uv_close((uv_handle_t *)&io->tcp, closing_cb);
}
