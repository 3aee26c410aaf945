// The model-server stand-in: what its files share. One process, one libuv loop, one thread; so nothing here is locked.
//
//   main.c      start, listening, crash and log timers     http.c     connections: parse, answer, chunked streams
//   options.c   behaviour by args, environment and JSON    routes.c   which path does what, faults before an answer
//   answers.c   whole JSON answers                         stream.c   answers that come token by token (SSE)
//   websocket.c echo per RFC 6455                          encode.c   base64, SHA-1, hashing
#ifndef SIM_H
#define SIM_H

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <uv.h>
#include <yyjson.h>

enum {
  SIM_HEADERS_MAX = 96,
  SIM_HEAD_BYTES_MAX = 64 * 1024,
  SIM_BODY_BYTES_MAX = 160 * 1024 * 1024,  // above any limit that a gateway in front would let pass
  SIM_EMBEDDING_DIMENSIONS = 16,
  SIM_OFF = -1,
};

// ---- options.c ----
typedef struct sim_options {
  char host[64];
  int64_t port;
  char model[256];
  char api_key[128];
  int64_t listen_delay_ms;
  int64_t start_delay_ms;
  int64_t ttft_ms;
  int64_t token_ms;
  int64_t tokens;
  double fail_rate;
  int64_t seed;
  int64_t fail_status;
  int64_t status;
  int64_t crash_after_requests;
  int64_t crash_after_tokens;
  int64_t crash_after_ms;
  int64_t exit_code;
  bool hang;
  bool hang_health;
  bool unhealthy;
  bool ignore_term;
  char garbage[16];
  int64_t cut_after_tokens;
  int64_t log_lines;
  int64_t log_ms;
} sim_options;

extern sim_options sim_opt;
void sim_options_defaults(void);  // built-in values, then ECOLINK_HOST, ECOLINK_PORT, ECOLINK_SERVED_MODEL
// Returns -1 to go on, or the exit status (after --help, or a complaint on stderr).
int sim_options_args(int argc, char **argv);
// Applies an object of option names ('-' or '_'). False with *why set when a name or value is wrong; nothing is changed
// then.
bool sim_options_json(yyjson_val *object, const char **why);
void sim_options_dump(yyjson_mut_doc *doc, yyjson_mut_val *into);

// ---- counters, told by GET /_simulator/state ----
typedef struct sim_counters {
  int64_t requests;   // all
  int64_t inference;  // those that faults apply to
  int64_t cancelled;  // the caller went away before its answer was whole
  int64_t active;
  int64_t tokens_sent;
  int64_t connections;
  int64_t
      inference_at_set;  // value of `inference` when the options were last set: crash-after-requests counts from there
} sim_counters;
extern sim_counters sim_count;
extern uint64_t sim_started_ms;  // on uv_now
bool sim_is_starting(void);      // within start_delay_ms
void sim_rearm(void);            // after a change of options: timers of main.c
_Noreturn void sim_crash(const char *why);
void sim_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

// ---- http.c ----
typedef struct sim_header {
  char *name;
  char *value;
} sim_header;

typedef struct sim_conn sim_conn;
typedef void (*sim_timer_fn)(sim_conn *c);

typedef struct sim_stream {
  int kind;  // stream.c's own enum
  int64_t sent;
  int64_t total;
  int64_t prompt_tokens;
  bool include_usage;
  char id[40];
  char model[256];
} sim_stream;

struct sim_conn {
  uv_tcp_t tcp;
  uv_timer_t timer;
  sim_timer_fn on_timer;
  int handles_open;
  bool closing;

  llhttp_t parser;
  char *pending;  // input that came while a request was being answered
  size_t pending_len;

  // the request, valid while busy
  bool busy;
  bool inference;
  bool counted_active;
  bool duplex;     // the answer began at the head and mirrors the body
  bool streaming;  // chunked answer begun
  bool close_after;
  bool eof_seen;
  const char *method;
  char *target;
  char *path;   // target without the query
  char *query;  // "" when there is none
  sim_header headers[SIM_HEADERS_MAX];
  size_t header_count;
  bool in_value;
  size_t head_bytes;
  char *body;
  size_t body_len;
  size_t body_cap;
  sim_stream stream;

  bool websocket;
  uint8_t *frames;  // undigested WebSocket bytes
  size_t frames_len;
};

void sim_http_accept(uv_stream_t *server, int status);
const char *sim_header_get(const sim_conn *c, const char *name);  // NULL when absent
void sim_reply(sim_conn *c, int status, const char *content_type, const void *body, size_t len);
void sim_reply_json(sim_conn *c, int status, yyjson_mut_doc *doc);  // frees doc
void sim_reply_error(sim_conn *c, int status, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void sim_stream_begin(sim_conn *c, int status, const char *content_type);
void sim_stream_write(sim_conn *c, const void *p, size_t n);
void sim_stream_finish(sim_conn *c);
void sim_raw(sim_conn *c, const void *p, size_t n);  // bytes as they are
void sim_after(sim_conn *c, uint64_t ms, sim_timer_fn fn);
void sim_cut(sim_conn *c);    // resets the connection
void sim_shut(sim_conn *c);   // ends it once everything is written
void sim_close(sim_conn *c);  // ends it now

// ---- routes.c ----
void sim_route_head(sim_conn *c);  // headers are here, the body is not: duplex answers begin
void sim_route(sim_conn *c);       // the request is whole

// ---- answers.c ----
// Text of the i-th token, without end.
const char *sim_token_text(int64_t i);
int64_t sim_words(const char *s);
void sim_fingerprint(char *out, size_t size, const char *model);
void sim_new_id(const char *prefix, char *out, size_t size);
void sim_answer(sim_conn *c, const char *endpoint, yyjson_val *request, const char *model);
void sim_answer_speech(sim_conn *c);
void sim_answer_transcription(sim_conn *c, const char *model);
// Value of a field of a multipart body: malloc'd, NULL when absent. *len may be NULL.
char *sim_multipart_field(const sim_conn *c, const char *name, size_t *len);
int64_t sim_prompt_tokens(yyjson_val *request);
int64_t sim_wanted_tokens(yyjson_val *request);

// ---- stream.c ----
bool sim_stream_supported(const char *endpoint);
void sim_stream_start(sim_conn *c, const char *endpoint, yyjson_val *request, const char *model);

// ---- websocket.c ----
void sim_websocket_accept(sim_conn *c);
void sim_websocket_input(sim_conn *c, const uint8_t *p, size_t n);

// ---- encode.c ----
char *sim_base64(const void *p, size_t n);  // malloc'd
void sim_sha1(const void *p, size_t n, uint8_t out[20]);
uint64_t sim_hash(const void *p, size_t n);  // FNV-1a
uint64_t sim_random(uint64_t *state);        // splitmix64
void *sim_alloc(size_t n);                   // zeroed, never NULL
char *sim_strdup(const char *s);

#endif
