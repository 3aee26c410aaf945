// The data plane's routes as a table: what /v1 serves, how a body may come, and by which class latency is remembered.
// The judge looks POST routes up in it; `--list-routes` prints all of it. Constant: any thread.
#ifndef GATEWAY_ENDPOINTS_H
#define GATEWAY_ENDPOINTS_H

#include <stdint.h>
#include <stdio.h>

enum { GW_TAKES_JSON = 1, GW_TAKES_FORM = 2, GW_TAKES_ANYTHING = 4 };

typedef struct gw_endpoint {
  const char *method;  // "*": any
  const char *path;    // template; "{path}" at the end takes slashes, too
  uint8_t takes;       // GW_TAKES_*; 0: no body
  uint8_t endpoint_class;
} gw_endpoint;

extern const gw_endpoint gw_endpoints[];  // ends with a zeroed row

// Writes the whole HTTP surface as one JSON object: routes of both planes, and the closed list of error codes. Tests
// compare the documentation with it. 0, or 1 when writing failed.
int gw_routes_print(FILE *out);

#endif
