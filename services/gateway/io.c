// Connection input and output; see io.h.
#include "io.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "loop.h"

static void mark_later(gw_io *io) {
  if (!io->later && !io->closing) {
    io->later = true;
    io->later_next = io->loop->later;
    io->loop->later = io;
  }
}

static void mark_dirty(gw_io *io) {
  if (!io->dirty && !io->closing) {
    io->dirty = true;
    io->dirty_next = io->loop->dirty;
    io->loop->dirty = io;
  }
}

// ---- the socket ----

void gw_io_init(gw_io *io, gw_loop *loop, const gw_io_fns *fns) {
  *io = (gw_io){.fd = -1, .loop = loop, .fns = fns, .progress_ms = gw_loop_now(loop)};
}

static int watch(gw_io *io) {
  struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = io};
  return epoll_ctl(io->loop->epoll, EPOLL_CTL_ADD, io->fd, &e) == 0 ? 0 : -errno;
}

int gw_io_open(gw_io *io, int fd) {
  io->fd = fd;
  io->open = true;
  io->writable = true;
  return watch(io);
}

int gw_io_connect(gw_io *io, const struct sockaddr *to) {
  const socklen_t len = to->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
  const int on = 1;
  io->fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (io->fd < 0 || setsockopt(io->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
      (connect(io->fd, to, len) != 0 && errno != EINPROGRESS)) {
    return -errno;
  }
  return watch(io);
}

static void finish_connect(gw_io *io) {
  int error = 0;
  socklen_t len = sizeof error;
  if (getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
    error = errno;
  }
  gw_loop_tick(io->loop);
  if (error) {
    io->fns->fail(io, -error);
    return;
  }
  io->open = true;
  io->writable = true;
  io->fns->connected(io);
}

// ---- input ----

static void read_once(gw_io *io) {
  uv_buf_t room = io->fns->room ? io->fns->room(io) : uv_buf_init(NULL, 0);
  ssize_t n = 0;
  if (room.len == 0) {
    room = uv_buf_init(io->loop->read_buffer, GW_READ_BUFFER);
  }
  do {
    n = syscall(SYS_recvfrom, io->fd, room.base, room.len, 0, NULL, NULL);
  } while (n < 0 && errno == EINTR);
  gw_loop_tick(io->loop);
  io->reads++;
  io->readable = n > 0 && ((size_t)n == room.len || io->ended);  // fewer: it had no more, and will tell
  if (n > 0) {
    io->received += (uint64_t)n;
    io->fns->data(io, room.base, (size_t)n);
  } else if (n == 0) {
    io->want_read = false;
    io->fns->eof(io);
  } else if (errno != EAGAIN) {
    io->fns->fail(io, -errno);
  }
}

void gw_io_continue(gw_io *io) {
  if (io->turn != io->loop->turn) {
    io->turn = io->loop->turn;
    io->reads = 0;
  }
  while (io->readable && io->want_read && !io->closing) {
    if (io->reads == GW_READS_PER_TURN) {
      mark_later(io);
      return;
    }
    read_once(io);
  }
}

void gw_io_event(gw_io *io, uint32_t events) {
  if (io->closing) {
    return;  // by an event before this one
  }
  if (!io->open) {
    finish_connect(io);
  }
  if (io->closing) {
    return;
  }
  if ((events & EPOLLOUT) && !io->writable) {
    io->writable = true;
    if (io->out_bytes > 0 || io->congested) {
      mark_dirty(io);
    }
  }
  if (events & ~(uint32_t)EPOLLOUT) {
    io->readable = true;
    io->ended = io->ended || (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
    gw_io_continue(io);
  }
}

void gw_io_read(gw_io *io, bool on) {
  if (on && !io->want_read && io->readable) {
    mark_later(io);
  }
  io->want_read = on;
}

// ---- output ----

static void queue_bytes(gw_io *io, const char *p, size_t n) {
  io->out_bytes += n;
  while (n > 0) {
    gw_block *b = io->out_tail;
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
    io->shut = true;
    (void)shutdown(io->fd, SHUT_WR);
  }
  if (io->congested && io->writable && io->out_bytes < GW_OUT_LOW) {
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

// What the kernel takes at once: bytes, 0 when it has no room, or a negative errno.
static ssize_t send_now(gw_io *io, const uv_buf_t *iov, unsigned n, size_t total) {
  ssize_t done = -1;
  do {
    if (n == 1) {
      done = syscall(SYS_sendto, io->fd, iov[0].base, iov[0].len, MSG_NOSIGNAL, NULL, 0);
    } else {
      struct msghdr m = {.msg_iov = (struct iovec *)iov, .msg_iovlen = n};  // uv_buf_t is an iovec on Unix, by its docs
      done = sendmsg(io->fd, &m, MSG_NOSIGNAL);
    }
  } while (done < 0 && errno == EINTR);
  if (done < 0 && errno != EAGAIN) {
    return -errno;
  }
  done = done < 0 ? 0 : done;
  io->writable = (size_t)done == total;  // else the next EPOLLOUT says when there is room
  io->sent += (uint64_t)done;
  io->progress_ms = done > 0 ? gw_loop_now(io->loop) : io->progress_ms;
  return done;
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
  while (io->open && io->writable && io->out_bytes > 0) {
    uv_buf_t iov[GW_IOV_MAX];
    size_t bytes = 0;
    unsigned n = queue_iov(io, iov, &bytes);
    ssize_t done = send_now(io, iov, n, bytes);
    if (done < 0) {
      io->fns->fail(io, (int)done);
      return;
    }
    consume(io, (size_t)done);
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
  if (io->open && io->out_bytes == 0) {
    io->progress_ms = gw_loop_now(io->loop);
    if (total > GW_OUT_SMALL && io->writable) {
      ssize_t done = send_now(io, iov, n, total);
      if (done < 0) {
        gw_io_fail_later(io, (int)done);
        return;
      }
      skip = (size_t)done;
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

// Writes the queue and then the buffers, as far as the kernel takes them now. Returns how much of the buffers it took.
static size_t write_with_queue(gw_io *io, const uv_buf_t *iov, unsigned n, size_t total) {
  uv_buf_t all[2 * GW_IOV_MAX];
  size_t queued = 0;
  unsigned k = queue_iov(io, all, &queued);
  memcpy(all + k, iov, n * sizeof *iov);
  ssize_t done = send_now(io, all, k + n, queued + total);
  if (done < 0) {
    gw_io_fail_later(io, (int)done);
    return 0;
  }
  size_t of_queue = (size_t)done < queued ? (size_t)done : queued;
  consume(io, of_queue);
  return (size_t)done - of_queue;
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
    for (unsigned i = 0; i < n; i++) {
      queue_bytes(io, iov[i].base, iov[i].len);
    }
    mark_dirty(io);
    return total;
  }
  size_t taken = io->open && io->writable ? write_with_queue(io, iov, n, total) : 0;
  io->congested = io->congested || taken < total;
  return taken;
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
  if (io->fd >= 0) {
    (void)close(io->fd);  // which ends the watching, too
    io->fd = -1;
  }
  io->closed_next = io->loop->closed;
  io->loop->closed = io;
}

void gw_io_free_closed(gw_loop *loop) {
  while (loop->closed) {
    gw_io *io = loop->closed;
    loop->closed = io->closed_next;
    free_queue(io);
    io->fns->closed(io);
  }
}
