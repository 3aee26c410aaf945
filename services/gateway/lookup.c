// The system's resolver. Apart from the table of names, so that tests put another one in its place.
#include <netdb.h>
#include <string.h>

#include "name_table.h"

bool gw_lookup(const char *host, gw_sockaddr *out) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  struct addrinfo *found = NULL;
  memset(out, 0, sizeof *out);
  bool good = getaddrinfo(host, NULL, &hints, &found) == 0 && found && found->ai_addrlen <= sizeof *out;
  if (good) {
    memcpy(out, found->ai_addr, found->ai_addrlen);
  }
  if (found) {
    freeaddrinfo(found);
  }
  return good;
}
