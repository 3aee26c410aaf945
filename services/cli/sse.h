// Server-sent events, read from pieces of any size (WHATWG HTML, "Server-sent events", interpretation of a stream).
// Pure: no I/O.
#ifndef CLI_SSE_H
#define CLI_SSE_H

#include "ecolink/buf.h"

enum {
  CLI_SSE_LINE_MAX = 1024 * 1024,  // a longer line or event ends the stream as broken
  CLI_SSE_NAME_MAX = 64,
};

// data[len] is NUL. `event` is "" when the stream named none. Returns false to stop reading.
typedef bool (*cli_sse_fn)(void *arg, const char *event, const char *data, size_t len);

typedef struct cli_sse {
  cli_sse_fn fn;
  void *arg;
  eco_buf line;
  eco_buf data;
  char event[CLI_SSE_NAME_MAX];
  bool has_data;
  bool after_cr;    // a LF that follows belongs to the line end already seen
  bool first_line;  // may begin with a byte-order mark
  bool stopped;
} cli_sse;

void cli_sse_init(cli_sse *sse, cli_sse_fn fn, void *arg);
void cli_sse_free(cli_sse *sse);
// False once fn stopped it, or when a bound was passed; nothing more is read then.
bool cli_sse_feed(cli_sse *sse, const char *p, size_t n);

#endif
