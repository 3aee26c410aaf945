// The public port's sockets, one per loop by SO_REUSEPORT: made here, or taken over from the process before
// (handover.h). Before the loops run; a socket that is not closed here belongs to the loop that serves it.
#ifndef GATEWAY_LISTENERS_H
#define GATEWAY_LISTENERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "ecolink/status.h"
#include "gw_limits.h"

typedef struct gw_listeners {
  int fd[GW_LOOPS_MAX];
  size_t n;
} gw_listeners;

// Adds sockets until there are `want`; *address gets the port when it was 0. On failure what is there stays.
eco_status gw_listeners_fill(gw_listeners *l, size_t want, struct sockaddr_storage *address);
// Whether fd is a TCP socket that listens, on this address; `address` NULL: on any, port 0: on any port of it.
bool gw_listener_fits(int fd, const struct sockaddr_storage *address);
void gw_listeners_close(gw_listeners *l);

#endif
