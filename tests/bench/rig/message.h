// Reads one HTTP/1.1 message after the other, requests and answers alike, as far as the rig needs it: where the head
// ends, the status, how the body is framed, and every byte of the body counted. Strict: what it does not expect is an
// error, and a run with errors is no figure. Resumable at any byte.
#ifndef RIG_MESSAGE_H
#define RIG_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RIG_HEAD_MAX = 8192 };

typedef enum rig_message_state {
  RIG_HEAD,
  RIG_LENGTH,      // `left` bytes of body are to come
  RIG_CHUNK_SIZE,  // hex digits and CR LF
  RIG_CHUNK,       // `left` bytes of the chunk are to come
  RIG_CHUNK_END,   // its CR LF
  RIG_LAST,        // the CR LF after the last chunk (no trailers are spoken here)
  RIG_DONE,
  RIG_BAD,
} rig_message_state;

typedef struct rig_message {
  rig_message_state state;
  int status;  // of an answer; 0 for requests
  bool close;  // "connection: close"
  uint64_t left;
  uint64_t body;  // bytes so far
  unsigned digits;
  char *partial;  // a head that came in pieces; NULL in the usual case
  size_t partial_len;
} rig_message;

// Body bytes as they come; may be NULL.
typedef void rig_body_fn(void *arg, const char *p, size_t n);

void rig_message_reset(rig_message *m);
void rig_message_free(rig_message *m);
// Reads from p[0, n) up to the end of a message at most; returns the bytes used. Look at m->state then.
size_t rig_message_feed(rig_message *m, const char *p, size_t n, rig_body_fn *body, void *arg);

#endif
