// Fuzzes a body's whole way there and back: a real loop of the gateway, on loopback, between a client whose chunked
// body and an engine whose chunked answer are raw input bytes, cut where the input says. A decoder of the chunked
// coding in this file (RFC 9112 section 7.1) tells what was sent. What arrives whole was sent whole and is the same;
// what was plain and whole arrives; and afterwards nothing is left in the loop.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config.h"
#include "ecolink/id.h"
#include "ecolink/log.h"
#include "listeners.h"
#include "loop.h"
#include "metrics.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 64 * 1024, QUIET_TURNS = 4, PATIENCE_MS = 5000 };
enum { PROXY = 1, STREAM = 2 };  // flags of the first byte
#define KEY "eco_0123456789abcdefghjkmnpqrstvwxyz0123456789abcdefghjk"
static const char PUT[] = "PUT /inference-instances/7/proxy/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " KEY
                          "\r\nTransfer-Encoding: chunked\r\n\r\n";
static const char POST[] = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " KEY
                           "\r\nTransfer-Encoding: chunked\r\n\r\n13\r\n{\"model\":\"m:7\",\"x\":\r\n";
static const char TOLD[] = "{\"model\":\"m\",\"x\":";
static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
static const char EVENTS[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

static gw_loop *loop;
static gw_store *store;
static struct sockaddr_storage address;
static int engine_listener;

#define require(ok) ((ok) ? (void)0 : broken(#ok, __LINE__))
_Noreturn static void broken(const char *what, int line) {
  (void)fprintf(stderr, "fuzz_gateway_wire.c:%d: does not hold: %s (%s)\n", line, what, strerror(errno));
  abort();
}

// ---- the reference ----

typedef struct decoded {
  bool whole;  // up to and with the empty line at the end
  bool plain;  // without extensions and trailers
  size_t n;
  uint8_t body[ROOM];
} decoded;

static int hex(uint8_t c) {
  static const char DIGITS[] = "0123456789abcdef";
  const char *at = c ? strchr(DIGITS, c >= 'A' && c <= 'F' ? c | 0x20 : c) : NULL;
  return at ? (int)(at - DIGITS) : -1;
}

// The end of the line that begins at `at`: the place of its CRLF, or n.
static size_t line_end(const uint8_t *p, size_t n, size_t at) {
  while (at + 1 < n && (p[at] != '\r' || p[at + 1] != '\n')) {
    at++;
  }
  return at + 1 < n ? at : n;
}

static void decode(const uint8_t *p, size_t n, decoded *d) {
  d->whole = false;
  d->plain = true;
  d->n = 0;
  for (size_t at = 0;;) {
    const size_t end = line_end(p, n, at);
    uint64_t chunk = 0;
    size_t digits = 0;
    for (; at < end && hex(p[at]) >= 0; digits++) {
      chunk = chunk > ROOM ? chunk : chunk * 16 + (uint64_t)hex(p[at]);
      at++;
    }
    d->plain = d->plain && at == end && digits <= 8;
    if (end == n || digits == 0 || chunk > ROOM) {
      return;
    }
    at = end + 2;
    if (chunk == 0) {
      size_t last = at;
      while ((at = line_end(p, n, last)) < n && at > last) {
        d->plain = false;
        last = at + 2;
      }
      d->whole = at < n;
      return;
    }
    if (chunk > n - at || chunk > sizeof d->body - d->n) {
      return;
    }
    memcpy(d->body + d->n, p + at, chunk);
    d->n += chunk;
    at += chunk;
    if (n - at < 2 || p[at] != '\r' || p[at + 1] != '\n') {
      return;
    }
    at += 2;
  }
}

// ---- the peers ----

typedef struct peer {
  int fd;  // -1: none
  bool ended;
  size_t n;
  uint8_t got[4 * ROOM];
} peer;

static void peer_open(peer *p, int fd) {
  const struct linger reset = {1, 0};
  p->fd = fd;
  p->ended = false;
  p->n = 0;
  require(fd >= 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
  (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);  // no port waits for its past
}

static bool peer_read(peer *p) {
  const ssize_t n = p->fd < 0 || p->ended ? -1 : recv(p->fd, p->got + p->n, sizeof p->got - p->n, 0);
  if (n > 0) {
    p->n += (size_t)n;
  }
  p->ended = p->ended || n == 0 || (n < 0 && p->fd >= 0 && errno != EAGAIN);
  return n > 0;
}

static void peer_close(peer *p) {
  if (p->fd >= 0) {
    (void)close(p->fd);
    p->fd = -1;
  }
}

static void turn(void) {
  gw_loop_turn(loop, 0);
}

static void peer_send(const peer *p, const void *data, size_t n) {
  if (n > 0) {
    (void)send(p->fd, data, n, MSG_NOSIGNAL);
    turn();
  }
}

// Reads a message as it arrived: whether it is whole, and its body.
static void read_message(const peer *p, decoded *d) {
  const uint8_t *end = memmem(p->got, p->n, "\r\n\r\n", 4);
  d->whole = false;
  d->n = 0;
  if (!end) {
    return;
  }
  const size_t head = (size_t)(end - p->got) + 4;
  const uint8_t *length = memmem(p->got, head, "\r\ncontent-length: ", 18);
  if (!length) {
    decode(p->got + head, p->n - head, d);
    return;
  }
  d->n = strtoull((const char *)length + 18, NULL, 10);
  d->whole = d->n <= sizeof d->body && p->n - head >= d->n;
  if (d->whole) {
    memcpy(d->body, p->got + head, d->n);
  }
}

// ---- the stage ----

static void set_defaults(void) {
  for (const eco_setting *s = gw_settings; s->name; s++) {
    if (s->kind == ECO_SET_I64) {
      *(int64_t *)s->target = strtoll(s->fallback, NULL, 10);
    } else if (s->kind == ECO_SET_STR) {
      *(const char **)s->target = s->fallback;
    }
  }
  gw_cfg.listen = "127.0.0.1:0";
  gw_cfg.rate_limit_default = INT32_MAX;
}

static void open_engine(void) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof at;
  engine_listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  require(engine_listener >= 0 && bind(engine_listener, (struct sockaddr *)&at, len) == 0);
  require(listen(engine_listener, 64) == 0 && getsockname(engine_listener, (struct sockaddr *)&at, &len) == 0);
  Ecolink__V1__RouteReplica replica = ECOLINK__V1__ROUTE_REPLICA__INIT;
  Ecolink__V1__RouteReplica *replicas[] = {&replica};
  Ecolink__V1__RouteEntry route = ECOLINK__V1__ROUTE_ENTRY__INIT;
  uint8_t packed[512];
  replica.replica_id = 1;
  replica.region = (char *)"r";
  replica.host = (char *)"127.0.0.1";
  replica.port = ntohs(at.sin_port);
  route.instance_id = 7;
  route.account_id = (char *)"acc";
  route.served_name = (char *)"m";
  route.openai_compatible = true;
  route.status = ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_RUNNING;
  route.n_replicas = 1;
  route.replicas = replicas;
  require(ecolink__v1__route_entry__get_packed_size(&route) <= sizeof packed);
  require(gw_store_put_route(store, packed, ecolink__v1__route_entry__pack(&route, packed), false));
}

static void start(void) {
  require(sodium_init() >= 0);
  eco_log_init("fuzz", ECO_LOG_JSON, (eco_log_level)(ECO_LOG_ERROR + 1));
  set_defaults();
  gw_metrics_init();
  store = gw_store_new(1);
  Ecolink__V1__KeyEntry key = ECOLINK__V1__KEY_ENTRY__INIT;
  uint8_t hash[32];
  key.key_id = (char *)"key";
  key.account_id = (char *)"acc";
  key.role = ECOLINK__V1__ROLE__ROLE_INFERENCE;
  key.rate_limit_per_minute = INT32_MAX;
  eco_sha256(KEY, strlen(KEY), hash);
  require(gw_store_put_key(store, hash, &key, false));
  open_engine();
  gw_store_publish(store);
  gw_listeners listeners = {.n = 0};
  require(eco_ok(gw_config_listen_address(&address)) && eco_ok(gw_listeners_fill(&listeners, 1, &address)));
  require(eco_ok(gw_loop_new(0, store, NULL, &loop)) && eco_ok(gw_loop_listen(loop, listeners.fd[0])));
}

// ---- one exchange ----

typedef struct exchange {
  peer client;
  peer engine;
  decoded sent;     // by the client, as the reference has it
  decoded arrived;  // at the engine
  decoded said;     // by the engine
  decoded heard;    // by the client
} exchange;
static exchange x;

// The fuzzer's own alarm may come while the kernel connects.
static bool connect_client(int fd) {
  int status = -1;
  do {
    status = connect(fd, (struct sockaddr *)&address, sizeof(struct sockaddr_in));
  } while (status != 0 && (errno == EINTR || errno == EALREADY));
  return status == 0 || errno == EISCONN;
}

static bool accept_engine(void) {
  const int fd = x.engine.fd >= 0 ? -1 : accept(engine_listener, NULL, NULL);
  if (fd >= 0) {
    peer_open(&x.engine, fd);
  }
  return fd >= 0;
}

// Turns until nothing moves any more.
static void settle(void) {
  for (unsigned quiet = 0; quiet < QUIET_TURNS;) {
    turn();
    const bool accepted = accept_engine();
    const bool heard = peer_read(&x.client);
    const bool arrived = peer_read(&x.engine);
    quiet = accepted || heard || arrived ? 0 : quiet + 1;
  }
}

// Settles, and waits for what has to come: on a busy machine the kernel delivers over loopback when it gets to it.
static bool settles_to(bool (*done)(void)) {
  settle();
  for (unsigned ms = 0; !done() && ms < PATIENCE_MS; ms++) {
    (void)usleep(1000);
    settle();
  }
  return done();
}

static bool request_arrived(void) {
  read_message(&x.engine, &x.arrived);
  return x.arrived.whole;
}

static bool answer_heard(void) {
  read_message(&x.client, &x.heard);
  return x.heard.whole;
}

// As before the first input: no connection of a client's is left and none to the engine, taken or still to be taken
// (a second request, sent behind the first, opens one).
static bool nothing_left(void) {
  do {
    peer_close(&x.engine);
  } while (accept_engine());
  return loop->n_clients == 0 && !loop->busy && loop->upstreams.n_used == 0;
}

static void ask(bool proxy, const uint8_t *p, size_t n, size_t cut) {
  peer_send(&x.client, proxy ? PUT : POST, proxy ? sizeof PUT - 1 : sizeof POST - 1);
  peer_send(&x.client, p, cut);
  peer_send(&x.client, p + cut, n - cut);
  settle();
  decode(p, n, &x.sent);
  const size_t told = proxy ? 0 : sizeof TOLD - 1;
  if (proxy && x.sent.whole && x.sent.plain ? settles_to(request_arrived) : request_arrived()) {
    require(x.sent.whole && x.arrived.n == told + x.sent.n);
    require(memcmp(x.arrived.body, TOLD, told) == 0 && memcmp(x.arrived.body + told, x.sent.body, x.sent.n) == 0);
  } else {
    require(!proxy || !x.sent.whole || !x.sent.plain);
  }
}

static void say(bool proxy, bool stream, const uint8_t *p, size_t n, size_t cut) {
  x.client.n = 0;
  peer_send(&x.engine, stream ? EVENTS : ANSWER, stream ? sizeof EVENTS - 1 : sizeof ANSWER - 1);
  peer_send(&x.engine, p, cut);
  peer_send(&x.engine, p + cut, n - cut);
  settle();
  decode(p, n, &x.said);
  if (!x.said.whole) {
    peer_close(&x.engine);  // it ends in the middle
    settle();
  }
  const bool heard = x.said.whole && x.said.plain ? settles_to(answer_heard) : answer_heard();
  const bool fine = x.client.n > 12 && memcmp(x.client.got, "HTTP/1.1 200", 12) == 0;
  if (x.said.whole && x.said.plain) {
    require(fine && heard);
  }
  if (!fine || !heard) {
    return;
  }
  const bool same = x.heard.n == x.said.n && memcmp(x.heard.body, x.said.body, x.said.n) == 0;
  if (x.said.whole && x.said.plain) {
    require(same);
  } else if (!x.said.whole || !same) {
    // Broken off, or taken for it since what follows a chunk's size is no extension:
    // that has no proper end, but for events, which end with one that says so
    require(stream && !proxy && memmem(x.heard.body, x.heard.n, "data: {\"error\":", 15) != NULL);
    require(memcmp(x.heard.body + x.heard.n - 2, "\n\n", 2) == 0);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!loop) {
    start();
  }
  if (size < 4 || size > ROOM / 2) {
    return 0;
  }
  const bool proxy = data[0] & PROXY;
  const bool stream = data[0] & STREAM;
  const uint8_t *p = data + 4;
  const size_t n = size - 4;
  const size_t asked = data[1] * n / 255;
  const size_t said = n - asked;
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  require(fd >= 0 && connect_client(fd));
  peer_open(&x.client, fd);
  x.engine.fd = -1;
  x.engine.n = 0;
  ask(proxy, p, asked, data[2] * asked / 255);
  if (x.arrived.whole && x.engine.fd >= 0 && !x.engine.ended) {
    say(proxy, stream, p + asked, said, data[3] * said / 255);
  }
  peer_close(&x.client);
  require(settles_to(nothing_left) && loop->held == 0 && loop->requests.n_used == 0);
  require(gw_metrics_is(&loop->metrics->in_flight, 0) && gw_metrics_is(&loop->metrics->streams, 0));
  return 0;
}
