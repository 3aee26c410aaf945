// Fuzzes what a gateway takes from another one over the hand-over socket (handover_wire.h): a message of any bytes with
// any number of descriptors beside it. Taken is what says what it brings and brings what it says; of everything else
// nothing is taken, and no descriptor stays open. The input's first byte says how many descriptors come along.
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "handover_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DESCRIPTORS_MAX = GW_HANDOVER_FDS_MAX + 4, MESSAGE_MAX = 4096 };  // both more than the reader has room for

static void require(bool ok) {
  if (!ok) {
    abort();
  }
}

// The lowest free descriptor: the same again once everything is closed.
static int lowest_free(void) {
  const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  require(fd >= 0 && close(fd) == 0);
  return fd;
}

static void send_with(int to, const uint8_t *p, size_t n, int fd, size_t fds) {
  union {
    struct cmsghdr aligned;
    char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
  } control = {0};
  int copies[DESCRIPTORS_MAX];
  struct iovec iov = {(void *)(uintptr_t)p, n};
  struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
  if (fds > 0) {
    for (size_t i = 0; i < fds; i++) {
      copies[i] = fd;
    }
    m.msg_control = &control;
    m.msg_controllen = CMSG_SPACE(fds * sizeof(int));
    control.aligned.cmsg_level = SOL_SOCKET;
    control.aligned.cmsg_type = SCM_RIGHTS;
    control.aligned.cmsg_len = CMSG_LEN(fds * sizeof(int));
    memcpy(CMSG_DATA(&control.aligned), copies, fds * sizeof(int));
  }
  require(sendmsg(to, &m, MSG_NOSIGNAL) == (ssize_t)n);
}

static void check_sockets(int from, gw_handover_kind kind, unsigned admin, unsigned listeners, size_t fds) {
  gw_sockets got;
  const bool taken = gw_handover_get(from, 0, &got);
  require(taken == (kind == GW_HANDOVER_SOCKETS && fds == 1 + admin + listeners));
  require(taken == (got.path_fd >= 0) && got.listeners.n == (taken ? listeners : 0));
  require((got.admin_fd >= 0) == (taken && admin == 1));
  for (size_t i = 0; i < got.listeners.n; i++) {
    require(fcntl(got.listeners.fd[i], F_GETFD) == FD_CLOEXEC);  // open, and never a child's
  }
  gw_sockets_close(&got);
}

// What is read as a message is written again byte for byte.
static void check_again(int pair[2], gw_handover_kind kind, const uint8_t *p) {
  uint8_t again[GW_HANDOVER_BYTES + 1];
  require(gw_handover_say(pair[0], kind) && recv(pair[1], again, sizeof again, 0) == GW_HANDOVER_BYTES);
  require(memcmp(again, p, GW_HANDOVER_BYTES) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2 || size > MESSAGE_MAX) {
    return 0;  // an empty message is the end of the conversation
  }
  const size_t fds = data[0] % (DESCRIPTORS_MAX + 1);
  const uint8_t *p = data + 1;
  const size_t n = size - 1;
  int pair[2];
  require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
  const int before = lowest_free();
  unsigned admin = 9;
  unsigned listeners = 9;
  const gw_handover_kind kind = gw_handover_parse(p, n, &admin, &listeners);
  require(kind == GW_HANDOVER_SOCKETS ? admin <= 1 && listeners >= 1 && listeners <= GW_LOOPS_MAX
                                      : admin == 0 && listeners == 0);
  send_with(pair[0], p, n, pair[0], fds);
  check_sockets(pair[1], kind, admin, listeners, fds);
  send_with(pair[0], p, n, pair[0], fds);
  require(gw_handover_hear(pair[1], 0) == (kind == GW_HANDOVER_SOCKETS ? GW_HANDOVER_NONE : kind));
  if (kind != GW_HANDOVER_NONE && kind != GW_HANDOVER_SOCKETS) {
    check_again(pair, kind, p);
  }
  require(lowest_free() == before);
  (void)close(pair[0]);
  (void)close(pair[1]);
  return 0;
}
