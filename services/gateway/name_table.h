// Addresses of the names that stand in routes instead of an address (endpoint mode `service`). They are looked up on
// threads of their own, so that a name server that does not answer keeps no other change waiting; an address serves on
// until the name has another one.
//
// Threads: any; the table has a lock of its own, which is never held during a lookup.
#ifndef GATEWAY_NAME_TABLE_H
#define GATEWAY_NAME_TABLE_H

#include <netinet/in.h>
#include <stdbool.h>

typedef union gw_sockaddr {
  struct sockaddr sa;
  struct sockaddr_in in;
  struct sockaddr_in6 in6;
} gw_sockaddr;

bool gw_sockaddr_same(const gw_sockaddr *a, const gw_sockaddr *b);  // whatever their ports

// One address of `host`, its port left 0. False: there is none now. May take as long as the system's resolver does.
typedef bool (*gw_lookup_fn)(const char *host, gw_sockaddr *out);
bool gw_lookup(const char *host, gw_sockaddr *out);  // getaddrinfo (lookup.c)

typedef struct gw_names gw_names;
typedef struct gw_name gw_name;

gw_names *gw_names_new(gw_lookup_fn lookup);
// From here on names are looked up, and soon after an answer differs from the one before `changed` is called, on a
// thread of the table's.
void gw_names_start(gw_names *names, void (*changed)(void *arg), void *arg);
// No call of `changed` is under way or comes any more. A lookup that is under way is not waited for.
void gw_names_stop(gw_names *names);
void gw_names_free(gw_names *names);  // stopped, and every name released

// The name's one record, held until it is released. It is looked up anew, soon.
gw_name *gw_name_take(gw_names *names, const char *host);
gw_name *gw_name_hold(gw_name *name);  // once more
void gw_name_release(gw_name *name);
// What is known. With `wait`, a name that was never answered is waited for a tenth of a second, unless such a wait was
// in vain since the last answer to anything. False: nothing is known yet.
bool gw_name_address(gw_name *name, bool wait, gw_sockaddr *out);

#endif
