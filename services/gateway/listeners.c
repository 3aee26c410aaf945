// Listening sockets; see listeners.h.
#include "listeners.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

static socklen_t length_of(const struct sockaddr_storage *address) {
  return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static eco_status open_one(struct sockaddr_storage *address, int *out) {
  int on = 1;
  socklen_t len = length_of(address);
  int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0 ||
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||  // accepted sockets inherit it
      bind(fd, (struct sockaddr *)address, len) != 0 || getsockname(fd, (struct sockaddr *)address, &len) != 0) {
    eco_status st = eco_error(ECO_INTERNAL, "cannot listen on %s: %m", gw_cfg.listen);
    if (fd >= 0) {
      close(fd);
    }
    return st;
  }
  *out = fd;
  return eco_success();
}

eco_status gw_listeners_fill(gw_listeners *l, size_t want, struct sockaddr_storage *address) {
  while (l->n < want && l->n < GW_LOOPS_MAX) {
    ECO_TRY(open_one(address, &l->fd[l->n]));
    l->n++;
  }
  return eco_success();
}

static int option_of(int fd, int name) {
  int value = -1;
  socklen_t len = sizeof value;
  return getsockopt(fd, SOL_SOCKET, name, &value, &len) == 0 ? value : -1;
}

bool gw_listener_fits(int fd, const struct sockaddr_storage *address) {
  struct sockaddr_storage own = {0};
  socklen_t len = sizeof own;
  if (option_of(fd, SO_ACCEPTCONN) != 1 || option_of(fd, SO_TYPE) != SOCK_STREAM ||
      getsockname(fd, (struct sockaddr *)&own, &len) != 0 || (own.ss_family != AF_INET && own.ss_family != AF_INET6)) {
    return false;
  }
  if (!address) {
    return true;
  }
  // The port stands at the same place in both families; the rest of the address is compared with it made equal.
  struct sockaddr_storage wanted = *address;
  struct sockaddr_in *a = (struct sockaddr_in *)&wanted;
  const struct sockaddr_in *b = (const struct sockaddr_in *)&own;
  a->sin_port = a->sin_port ? a->sin_port : b->sin_port;
  return wanted.ss_family == own.ss_family && memcmp(&wanted, &own, length_of(&own)) == 0;
}

void gw_listeners_close(gw_listeners *l) {
  for (size_t i = 0; i < l->n; i++) {
    close(l->fd[i]);
  }
  l->n = 0;
}
