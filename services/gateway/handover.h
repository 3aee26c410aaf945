// Handing the listening sockets to a successor on the same host, so that replacing the program loses no connection: not
// one that waits to be accepted, not one that comes meanwhile. Both sides name the same Unix socket
// (HANDOVER_SOCKET); who listens there is the holder.
//
//   successor                                   holder
//     connect, HELLO ------------------------->   of our own user? (each asks the kernel about the other)
//          <-------------- SOCKETS, descriptors   accepts on
//     reads keys and routes
//     READY ---------------------------------->   stops accepting
//          <------------------------------ YOURS   finishes what is under way, ends
//     accepts
//
// Nobody else ever holds anything: sockets live as long as a process has them, and the path's own socket is handed over
// with the others. Until READY the successor may die and nothing has changed; a holder that dies leaves its sockets,
// and what waits in them, with the successor. With nobody behind the path a starting gateway listens there itself.
#ifndef GATEWAY_HANDOVER_H
#define GATEWAY_HANDOVER_H

#include <stdbool.h>

#include "handover_wire.h"

// ---- the successor; main thread ----

// Takes the holder's sockets, which it goes on using: *peer is the conversation. Without a holder *peer is -1 and
// sockets->path_fd listens at `path`. The caller closes what it gets.
eco_status gw_handover_take(const char *path, gw_sockets *sockets, int *peer);
// Waits until `ready`, then has the holder stop accepting. On failure (not ready in time, or told to stop) the holder
// goes on. Closes `peer`.
eco_status gw_handover_finish(int peer, bool (*ready)(void *arg), void *arg);

// ---- the holder; a thread of its own ----

typedef struct gw_handover gw_handover;
// Serves successors, one after the other, until one is ready. Then `given` is called on that thread: when it returns,
// nothing is accepted here any more; the process gets SIGTERM. `sockets` and what they name are borrowed until
// gw_handover_end.
eco_status gw_handover_hold(const gw_sockets *sockets, void (*given)(void *arg), void *arg, gw_handover **out);
void gw_handover_end(gw_handover *h);  // ends the thread, in the middle of a conversation too; NULL is fine

#endif
