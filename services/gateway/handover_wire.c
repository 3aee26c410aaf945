// Messages and descriptors; see handover_wire.h.
#include "handover_wire.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

enum { VERSION = 1, AT_VERSION = 4, AT_KIND, AT_ADMIN, AT_LISTENERS };
static const uint8_t MAGIC[] = {'E', 'G', 'W', 'H'};

typedef union control {
  struct cmsghdr aligned;
  char bytes[CMSG_SPACE(GW_HANDOVER_FDS_MAX * sizeof(int))];
} control;

void gw_sockets_close(gw_sockets *s) {
  gw_listeners_close(&s->listeners);
  if (s->path_fd >= 0) {
    close(s->path_fd);
  }
  if (s->admin_fd >= 0) {
    close(s->admin_fd);
  }
  *s = (gw_sockets){.path_fd = -1, .admin_fd = -1};
}

gw_handover_kind gw_handover_parse(const uint8_t *p, size_t n, unsigned *admin, unsigned *listeners) {
  *admin = 0;
  *listeners = 0;
  if (n != GW_HANDOVER_BYTES || memcmp(p, MAGIC, sizeof MAGIC) != 0 || p[AT_VERSION] != VERSION ||
      p[AT_KIND] == GW_HANDOVER_NONE || p[AT_KIND] > GW_HANDOVER_YOURS) {
    return GW_HANDOVER_NONE;
  }
  bool sockets = p[AT_KIND] == GW_HANDOVER_SOCKETS;
  bool numbers_fit = sockets ? p[AT_ADMIN] <= 1 && p[AT_LISTENERS] >= 1 && p[AT_LISTENERS] <= GW_LOOPS_MAX
                             : p[AT_ADMIN] == 0 && p[AT_LISTENERS] == 0;
  if (!numbers_fit) {
    return GW_HANDOVER_NONE;
  }
  *admin = p[AT_ADMIN];
  *listeners = p[AT_LISTENERS];
  return (gw_handover_kind)p[AT_KIND];
}

bool gw_handover_peer_is_ours(int peer) {
  struct ucred who;
  socklen_t len = sizeof who;
  return getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && who.uid == geteuid();
}

static bool send_message(int peer, const struct msghdr *m) {
  ssize_t n = -1;
  do {
    n = sendmsg(peer, m, MSG_NOSIGNAL | MSG_DONTWAIT);  // a message fits an empty queue; a peer that fills it is wrong
  } while (n < 0 && errno == EINTR);
  return n == GW_HANDOVER_BYTES;
}

bool gw_handover_say(int peer, gw_handover_kind kind) {
  uint8_t bytes[GW_HANDOVER_BYTES] = {MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], VERSION, (uint8_t)kind};
  struct iovec iov = {bytes, sizeof bytes};
  return send_message(peer, &(struct msghdr){.msg_iov = &iov, .msg_iovlen = 1});
}

bool gw_handover_give(int peer, const gw_sockets *s) {
  uint8_t bytes[GW_HANDOVER_BYTES] = {MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], VERSION, GW_HANDOVER_SOCKETS};
  struct iovec iov = {bytes, sizeof bytes};
  int fds[GW_HANDOVER_FDS_MAX];
  size_t n = 0;
  control c = {0};
  bytes[AT_ADMIN] = s->admin_fd >= 0;
  bytes[AT_LISTENERS] = (uint8_t)s->listeners.n;
  fds[n++] = s->path_fd;
  if (s->admin_fd >= 0) {
    fds[n++] = s->admin_fd;
  }
  memcpy(fds + n, s->listeners.fd, s->listeners.n * sizeof(int));
  n += s->listeners.n;
  struct msghdr m = {
      .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = CMSG_SPACE(n * sizeof(int))};
  struct cmsghdr *head = &c.aligned;
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(n * sizeof(int));
  memcpy(CMSG_DATA(head), fds, n * sizeof(int));
  return send_message(peer, &m);
}

// One message and what came with it. Returns its length, or -1.
static ssize_t receive(int peer, int timeout_ms, struct msghdr *m) {
  struct pollfd p = {.fd = peer, .events = POLLIN};
  int ready = -1;
  do {
    ready = poll(&p, 1, timeout_ms);
  } while (ready < 0 && errno == EINTR);
  return ready > 0 ? recvmsg(peer, m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) : -1;
}

gw_handover_kind gw_handover_hear(int peer, int timeout_ms) {
  uint8_t bytes[GW_HANDOVER_BYTES + 1];
  struct iovec iov = {bytes, sizeof bytes};
  unsigned admin = 0;
  unsigned listeners = 0;
  ssize_t n = receive(peer, timeout_ms, &(struct msghdr){.msg_iov = &iov, .msg_iovlen = 1});
  gw_handover_kind kind = n > 0 ? gw_handover_parse(bytes, (size_t)n, &admin, &listeners) : GW_HANDOVER_NONE;
  return kind == GW_HANDOVER_SOCKETS ? GW_HANDOVER_NONE : kind;  // those are not taken here
}

// Descriptors of all control messages, as many as fit.
static size_t descriptors(struct msghdr *m, int fds[GW_HANDOVER_FDS_MAX]) {
  size_t n = 0;
  for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
    if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS) {
      size_t more = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      more = more < GW_HANDOVER_FDS_MAX - n ? more : GW_HANDOVER_FDS_MAX - n;  // the buffer holds no more
      memcpy(fds + n, CMSG_DATA(h), more * sizeof(int));
      n += more;
    }
  }
  return n;
}

bool gw_handover_get(int peer, int timeout_ms, gw_sockets *out) {
  uint8_t bytes[GW_HANDOVER_BYTES + 1];
  struct iovec iov = {bytes, sizeof bytes};
  control c = {0};
  struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c};
  int fds[GW_HANDOVER_FDS_MAX] = {-1};
  unsigned admin = 0;
  unsigned listeners = 0;
  *out = (gw_sockets){.path_fd = -1, .admin_fd = -1};
  ssize_t len = receive(peer, timeout_ms, &m);
  size_t n = len >= 0 ? descriptors(&m, fds) : 0;
  bool good = len > 0 && gw_handover_parse(bytes, (size_t)len, &admin, &listeners) == GW_HANDOVER_SOCKETS &&
              (m.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) == 0 && n == 1 + admin + listeners;
  if (!good) {
    for (size_t i = 0; i < n; i++) {
      close(fds[i]);
    }
    return false;
  }
  out->path_fd = fds[0];
  out->admin_fd = admin ? fds[1] : -1;
  out->listeners.n = listeners;
  memcpy(out->listeners.fd, fds + 1 + admin, listeners * sizeof(int));
  return true;
}
