// What the two sides of a hand-over (handover.h) say to each other: messages of 8 bytes on a Unix socket that keeps
// their bounds, one of them with descriptors. Everything that comes is checked; nothing that comes too many stays open.
//
//   [ 'E' 'G' 'W' 'H' | version | kind | admin: 0 or 1 | listeners ]
//   descriptors of SOCKETS, in this order: the hand-over socket itself, admin's if there is one, the listeners
#ifndef GATEWAY_HANDOVER_WIRE_H
#define GATEWAY_HANDOVER_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "listeners.h"

typedef enum gw_handover_kind {
  GW_HANDOVER_NONE,     // nothing came in time, the peer has gone, or what came is no message
  GW_HANDOVER_HELLO,    // new: who are you, and what do you hold
  GW_HANDOVER_SOCKETS,  // old: these
  GW_HANDOVER_READY,    // new: from here on they are mine
  GW_HANDOVER_YOURS,    // old: I accept no more
} gw_handover_kind;

enum { GW_HANDOVER_BYTES = 8, GW_HANDOVER_FDS_MAX = 2 + GW_LOOPS_MAX };

typedef struct gw_sockets {
  int path_fd;   // the hand-over socket, listening; -1: none
  int admin_fd;  // the admin endpoint's; -1: none
  gw_listeners listeners;
} gw_sockets;
void gw_sockets_close(gw_sockets *s);

// The message in n bytes; NONE when they are none. `admin` and `listeners` are 0 in all kinds but SOCKETS.
gw_handover_kind gw_handover_parse(const uint8_t *p, size_t n, unsigned *admin, unsigned *listeners);

// Whether the process at the other end runs as our own user. Asked once, right after the connection.
bool gw_handover_peer_is_ours(int peer);
bool gw_handover_say(int peer, gw_handover_kind kind);
bool gw_handover_give(int peer, const gw_sockets *s);  // SOCKETS; they stay ours, too
// Waits for a message. Descriptors that come with it are not taken.
gw_handover_kind gw_handover_hear(int peer, int timeout_ms);
// Waits for SOCKETS. False: something else, or nothing, or not as many descriptors as it says; none stays open.
bool gw_handover_get(int peer, int timeout_ms, gw_sockets *out);

#endif
