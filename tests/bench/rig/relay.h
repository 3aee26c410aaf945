// A raw TCP relay, one connection to the backend per client: the least that a process in between can cost. Baseline.
#ifndef RIG_RELAY_H
#define RIG_RELAY_H

#include <netinet/in.h>

_Noreturn void rig_relay(const struct sockaddr_in *listen_at, const struct sockaddr_in *to);

#endif
