// The holder's side of a hand-over: a thread that waits for a successor; see handover.h.
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "handover.h"

enum { ACCEPT_PAUSE_MS = 100 };  // without descriptors accepting fails, and the caller waits on

struct gw_handover {
  const gw_sockets *sockets;
  void (*given)(void *arg);
  void *arg;
  int stop_fd;  // an eventfd: readable once the thread shall end
  pthread_t thread;
};

// Waits until fd has something. False: time is up, or the thread shall end.
static bool await(const gw_handover *h, int fd, int timeout_ms) {
  struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = h->stop_fd, .events = POLLIN}};
  int n = -1;
  do {
    n = poll(p, 2, timeout_ms);
  } while (n < 0 && errno == EINTR);
  return n > 0 && p[1].revents == 0;
}

static bool heard(const gw_handover *h, int peer, int timeout_ms, gw_handover_kind kind) {
  return await(h, peer, timeout_ms) && gw_handover_hear(peer, 0) == kind;
}

// True: the successor is ready, and everything is its own.
static bool converse(const gw_handover *h, int peer) {
  if (!gw_handover_peer_is_ours(peer)) {
    eco_log(ECO_LOG_WARN, "another user asked for the listening sockets: refused");
    return false;
  }
  if (!heard(h, peer, GW_HANDOVER_STEP_MS, GW_HANDOVER_HELLO) || !gw_handover_give(peer, h->sockets)) {
    eco_log(ECO_LOG_WARN, "hand-over: somebody asked who does not know how");
    return false;
  }
  ECO_CRASH_POINT("gateway.handover.given");
  // Longer than a successor gives itself: it never believes to hold what was taken back.
  if (!heard(h, peer, 2 * GW_HANDOVER_READY_MS, GW_HANDOVER_READY)) {
    eco_log(ECO_LOG_WARN, "hand-over: the successor did not become ready; this gateway goes on");
    return false;
  }
  h->given(h->arg);
  ECO_CRASH_POINT("gateway.handover.yours");
  (void)gw_handover_say(peer, GW_HANDOVER_YOURS);
  eco_log(ECO_LOG_INFO, "handed over: what is under way ends here");
  return true;
}

static void *hold_main(void *arg) {
  gw_handover *h = arg;
  bool given = false;
  (void)pthread_setname_np(pthread_self(), "gw-handover");
  while (!given && await(h, h->sockets->path_fd, -1)) {
    int peer = accept4(h->sockets->path_fd, NULL, NULL, SOCK_CLOEXEC);
    if (peer >= 0) {
      given = converse(h, peer);
      close(peer);
    } else {
      (void)await(h, h->stop_fd, ACCEPT_PAUSE_MS);
    }
  }
  if (given) {
    (void)kill(getpid(), SIGTERM);  // main waits for it, and does what a stop does
  }
  return NULL;
}

eco_status gw_handover_hold(const gw_sockets *sockets, void (*given)(void *arg), void *arg, gw_handover **out) {
  gw_handover *h = calloc(1, sizeof *h);
  if (!h) {
    abort();
  }
  *h = (gw_handover){.sockets = sockets, .given = given, .arg = arg, .stop_fd = eventfd(0, EFD_CLOEXEC)};
  int error = h->stop_fd < 0 ? EMFILE : pthread_create(&h->thread, NULL, hold_main, h);
  if (error) {
    if (h->stop_fd >= 0) {
      close(h->stop_fd);
    }
    free(h);
    return eco_error(ECO_INTERNAL, "cannot wait for a successor: %s", strerror(error));
  }
  *out = h;
  return eco_success();
}

void gw_handover_end(gw_handover *h) {
  if (!h) {
    return;
  }
  (void)eventfd_write(h->stop_fd, 1);
  pthread_join(h->thread, NULL);
  close(h->stop_fd);
  free(h);
}
