// What the rig sends: requests made once, before the measurement, from a fixed seed; and the keys and routes that a
// gateway must know to answer them. All of it is a function of numbers, so two runs send the same bytes.
//
// Key k (0 .. keys) belongs to account k % routes, which owns route k % routes. In use are `used_routes` of the routes,
// evenly spread, and of each as many keys as make `used_keys`.
#ifndef RIG_CORPUS_H
#define RIG_CORPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum rig_size { RIG_CHAT, RIG_64K, RIG_1M, RIG_8M } rig_size;

typedef struct rig_population {
  unsigned keys;
  unsigned routes;
  unsigned used_keys;
  unsigned used_routes;
} rig_population;

typedef struct rig_request {
  char *bytes;
  size_t len;
  size_t split;  // where it is cut in two writes; 0: it is not
} rig_request;

typedef struct rig_corpus {
  rig_request *requests;
  size_t n;
} rig_corpus;

// Chat requests: bodies of 0.6 to 4 KB, 1.4 KB on average, `model` after `messages`, in a quarter of them first, in a
// quarter among twenty keys; a tenth chunked, a tenth split at a random byte. The larger sizes put `model` last.
// `wrong` gives well-formed keys that nobody has. `stream` asks for an event stream. `extra` are header lines, each
// with CR LF, that a peer wants to be told by; "" for none.
rig_corpus rig_corpus_new(const rig_population *p, rig_size size, bool wrong, bool stream, const char *extra);
void rig_corpus_free(rig_corpus *c);
// A snapshot in the gateway's JSON (snapshot-from-json): every route has two replicas at 127.0.0.1:port.
void rig_corpus_write_snapshot(const rig_population *p, int port, FILE *out);

#endif
