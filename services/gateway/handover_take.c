// The successor's side of a hand-over; see handover.h.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "ecolink/pace.h"
#include "handover.h"

enum { BACKLOG = 8, TRIES = 3, LOOK_MS = 20, LOCK_WAIT_MS = 2000 };

static eco_status address_of(const char *path, struct sockaddr_un *out) {
  *out = (struct sockaddr_un){.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof out->sun_path) {
    return eco_error(ECO_INVALID_REQUEST, "the path of the hand-over socket is longer than %zu bytes: %s",
                     sizeof out->sun_path - 1, path);
  }
  memcpy(out->sun_path, path, strlen(path) + 1);
  return eco_success();
}

// A connection to the holder; -1: there is none, with errno.
static int connect_to(const struct sockaddr_un *at) {
  const struct timeval patience = {.tv_sec = GW_HANDOVER_STEP_MS / 1000};
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return -1;
  }
  (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);  // a full backlog is waited for so long
  if (connect(fd, (const struct sockaddr *)at, sizeof *at) != 0) {
    int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  return fd;
}

static bool nobody_there(int error) {
  return error == ENOENT || error == ECONNREFUSED;
}

// ---- nobody holds the path ----

static int take_lock(const char *path) {
  char name[sizeof((struct sockaddr_un *)0)->sun_path + 8];
  (void)snprintf(name, sizeof name, "%s.lock", path);
  int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd >= 0 && !eco_file_lock(fd, LOCK_WAIT_MS)) {
    close(fd);
    return -1;
  }
  return fd;
}

// Nothing lies at the path any more. What is no socket stays: somebody has named the wrong file.
static bool clear_path(const char *path) {
  struct stat info;
  if (lstat(path, &info) != 0) {
    return errno == ENOENT;
  }
  if (!S_ISSOCK(info.st_mode)) {
    errno = EEXIST;
    return false;
  }
  return unlink(path) == 0;
}

static int bind_path(const struct sockaddr_un *at) {
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  // The mode of a Unix socket's file is that of the unbound socket: at no time may another user connect.
  if (fd >= 0 && fchmod(fd, 0600) == 0 && clear_path(at->sun_path) &&
      bind(fd, (const struct sockaddr *)at, sizeof *at) == 0 && listen(fd, BACKLOG) == 0) {
    return fd;
  }
  int error = errno;
  if (fd >= 0) {
    close(fd);
  }
  errno = error;
  return -1;
}

// Of several that start at once one becomes the holder: the lock is held from the last look until the path is ours, and
// dies with its process. *peer: another one was faster.
static eco_status become_holder(const struct sockaddr_un *at, gw_sockets *sockets, int *peer) {
  int lock = take_lock(at->sun_path);
  if (lock < 0) {
    return eco_error(ECO_INTERNAL, "hand-over socket %s: cannot take its lock file", at->sun_path);
  }
  *peer = connect_to(at);
  if (*peer < 0 && nobody_there(errno)) {
    sockets->path_fd = bind_path(at);
  }
  eco_status st = *peer < 0 && sockets->path_fd < 0
                      ? eco_error(ECO_INTERNAL, "cannot listen at the hand-over socket %s: %m", at->sun_path)
                      : eco_success();
  close(lock);
  return st;
}

// ---- somebody does ----

static bool sound(const gw_sockets *s) {
  int listens = 0;
  socklen_t len = sizeof listens;
  bool good = getsockopt(s->path_fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens;
  good = good && (s->admin_fd < 0 || gw_listener_fits(s->admin_fd, NULL));
  for (size_t i = 0; i < s->listeners.n; i++) {
    good = good && gw_listener_fits(s->listeners.fd[i], NULL);
  }
  return good;
}

eco_status gw_handover_take(const char *path, gw_sockets *sockets, int *peer) {
  struct sockaddr_un at;
  *sockets = (gw_sockets){.path_fd = -1, .admin_fd = -1};
  *peer = -1;
  ECO_TRY(address_of(path, &at));
  for (int i = 0; i < TRIES; i++) {  // a holder that dies while we talk leaves the path to us
    *peer = connect_to(&at);
    if (*peer < 0 && !nobody_there(errno)) {
      return eco_error(ECO_INTERNAL, "hand-over socket %s: %m", path);
    }
    if (*peer < 0) {
      ECO_TRY(become_holder(&at, sockets, peer));
    }
    if (*peer < 0) {
      return eco_success();
    }
    if (!gw_handover_peer_is_ours(*peer)) {
      close(*peer);
      return eco_error(ECO_FORBIDDEN, "hand-over socket %s: another user listens there", path);
    }
    if (gw_handover_say(*peer, GW_HANDOVER_HELLO) && gw_handover_get(*peer, GW_HANDOVER_STEP_MS, sockets)) {
      break;
    }
    close(*peer);
    *peer = -1;
  }
  ECO_CRASH_POINT("gateway.handover.taken");
  if (*peer < 0) {
    return eco_error(ECO_INTERNAL, "the gateway that holds %s does not hand over; is another one just starting?", path);
  }
  if (!sound(sockets)) {
    gw_sockets_close(sockets);
    close(*peer);
    *peer = -1;
    return eco_error(ECO_INTERNAL, "what was handed over at %s are no listening sockets", path);
  }
  return eco_success();
}

// ---- taking over ----

// SIGTERM and SIGINT are blocked until the service runs (service.c): one that waits means that nobody wants us any
// more.
static bool told_to_stop(void) {
  sigset_t waiting;
  sigemptyset(&waiting);
  return sigpending(&waiting) == 0 && (sigismember(&waiting, SIGTERM) == 1 || sigismember(&waiting, SIGINT) == 1);
}

static bool gone(int peer, int wait_ms) {
  struct pollfd p = {.fd = peer, .events = POLLRDHUP};
  return poll(&p, 1, wait_ms) > 0;
}

static eco_status await_ready(int peer, bool (*ready)(void *arg), void *arg) {
  int64_t until_ms = eco_boottime_ms() + GW_HANDOVER_READY_MS;
  while (!ready(arg) && !gone(peer, LOOK_MS)) {
    if (told_to_stop()) {
      return eco_error(ECO_INTERNAL, "told to stop before it had taken over");
    }
    if (eco_boottime_ms() >= until_ms) {
      return eco_error(ECO_INTERNAL, "keys and routes did not come within %d s: the gateway before goes on",
                       GW_HANDOVER_READY_MS / 1000);
    }
  }
  return eco_success();
}

eco_status gw_handover_finish(int peer, bool (*ready)(void *arg), void *arg) {
  eco_status st = await_ready(peer, ready, arg);
  ECO_CRASH_POINT("gateway.handover.ready");
  if (eco_ok(st)) {
    // Whatever it answers, or if it has gone: from here on it is us, and two that accept are no harm.
    bool told = gw_handover_say(peer, GW_HANDOVER_READY);
    bool answered = told && gw_handover_hear(peer, GW_HANDOVER_STEP_MS) == GW_HANDOVER_YOURS;
    eco_log(answered ? ECO_LOG_INFO : ECO_LOG_WARN, answered
                                                        ? "took over from the gateway before"
                                                        : "took over; the gateway before has gone or does not answer");
  }
  close(peer);
  return st;
}
