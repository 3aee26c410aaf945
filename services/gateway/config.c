// The table of settings and the two that need parsing.
#include "config.h"

#include <arpa/inet.h>
#include <string.h>

#include "gw_limits.h"
#include "mgmt.h"

gw_config gw_cfg;

#define STR(n, t, d, h) \
  { .name = n, .kind = ECO_SET_STR, .target = &gw_cfg.t, .fallback = d, .help = h }
#define NUM(n, t, d, lo, hi, h) \
  { .name = n, .kind = ECO_SET_I64, .target = &gw_cfg.t, .fallback = d, .min = lo, .max = hi, .help = h }

const eco_setting gw_settings[] = {
    STR("LISTEN", listen, "127.0.0.1:8080", "address and port of the public API"),
    STR("REGION", region, "", "region this gateway stands in; only for logs and metrics"),
    STR("SNAPSHOT_FILE", snapshot_file, "",
        "file to save keys and routes to, and to start from while NATS is away; empty: none"),
    STR("SPOOL_DIR", spool_dir, "", "folder of the usage spool; empty: usage is lost while NATS is away"),
    STR("TRUSTED_PROXIES", trusted_proxies, "", "comma-separated CIDRs whose X-Forwarded-* headers are believed"),
    STR("HANDOVER_SOCKET", handover_socket, "",
        "path of a Unix socket: a gateway that starts takes over from the one that listens there; empty: none"),
    NUM("LOOPS", loops, "1", 1, GW_LOOPS_MAX, "event loops, one thread each; about one per core"),
    NUM("SPOOL_MAX_BYTES", spool_max_bytes, "268435456", 65536, INT64_MAX,
        "bytes of unsent usage kept; beyond: dropped and counted"),
    NUM("RATE_LIMIT_DEFAULT", rate_limit_default, "200", 1, 10000000, "calls a minute of a key that names no limit"),
    NUM("RATE_LIMIT_SHARE", rate_limit_share, "1", 1, 1000,
        "gateways that share the traffic: each enforces limit / share"),
    NUM("PUBLIC_RATE_LIMIT", public_rate_limit, "300", 0, 10000000,
        "requests a minute from one address (IPv6: one /64) that bring no key, or none that is valid; 0: no limit"),
    NUM("REFUSAL_LINES", refusal_lines, "100", 0, 10000000,
        "lines in the log a second for refused and failed requests, per error code and loop; beyond: one with their "
        "number"),
    NUM("JSON_BODY_MAX", json_body_max, "33554432", 1024, INT64_MAX, "bytes of a JSON body"),
    NUM("MULTIPART_BODY_MAX", multipart_body_max, "67108864", 1024, INT64_MAX, "bytes of a multipart body"),
    NUM("HELD_MAX", held_max, "268435456", 1048576, INT64_MAX,
        "bytes of request bodies held per loop; beyond: 503 overloaded"),
    NUM("CLIENTS_MAX", clients_max, "8000", 1, 1000000, "client connections per loop; beyond: accepted and closed"),
    NUM("CONNECT_TIMEOUT_MS", connect_timeout_ms, "2000", 10, 60000, "to reach a replica"),
    NUM("FIRST_BYTE_TIMEOUT_MS", first_byte_timeout_ms, "300000", 50, 86400000,
        "from the request sent to the first byte of the answer"),
    NUM("IDLE_TIMEOUT_MS", idle_timeout_ms, "120000", 50, 86400000, "between two bytes of an answer"),
    NUM("CLIENT_HEAD_TIMEOUT_MS", client_head_timeout_ms, "15000", 50, 600000, "for a client to finish a request head"),
    NUM("CLIENT_BODY_TIMEOUT_MS", client_body_timeout_ms, "60000", 50, 86400000, "between two bytes of a request body"),
    NUM("CLIENT_IDLE_TIMEOUT_MS", client_idle_timeout_ms, "120000", 50, 86400000,
        "between two requests on a connection"),
    NUM("CLIENT_WRITE_TIMEOUT_MS", client_write_timeout_ms, "120000", 50, 86400000,
        "a client that takes no byte of its answer for so long is cut"),
    NUM("UPSTREAM_KEEPALIVE_MS", upstream_keepalive_ms, "4000", 0, 3600000,
        "idle connections to replicas are reused within this time (below the engine's own limit)"),
    NUM("TUNNEL_IDLE_TIMEOUT_MS", tunnel_idle_timeout_ms, "600000", 50, 86400000,
        "a WebSocket without a byte for so long is closed"),
    NUM("DRAIN_REQUESTS_S", drain_requests_s, "25", 0, 3600, "at SIGTERM: how long requests in flight may go on"),
    GW_MGMT_SETTINGS,
    ECO_SETTING_END,
};

enum { RANGES_MAX = 32 };
typedef struct range {
  int family;
  uint8_t addr[16];
  unsigned bits;
} range;
static range ranges[RANGES_MAX];
static size_t range_count;

static bool parse_range(const char *text, size_t n, range *out) {
  char buf[64];
  if (n == 0 || n >= sizeof buf) {
    return false;
  }
  memcpy(buf, text, n);
  buf[n] = 0;
  char *slash = strchr(buf, '/');
  unsigned bits = 0;
  if (slash) {
    *slash = 0;
    for (const char *p = slash + 1; *p; p++) {
      if (*p < '0' || *p > '9' || bits > 128) {
        return false;
      }
      bits = bits * 10 + (unsigned)(*p - '0');
    }
  }
  out->family = strchr(buf, ':') ? AF_INET6 : AF_INET;
  unsigned max = out->family == AF_INET ? 32 : 128;
  out->bits = slash ? bits : max;
  return inet_pton(out->family, buf, out->addr) == 1 && out->bits <= max;
}

eco_status gw_config_check(void) {
  struct sockaddr_storage address;
  ECO_TRY(gw_config_listen_address(&address));
  const char *p = gw_cfg.trusted_proxies;
  range_count = 0;
  while (*p) {
    size_t n = strcspn(p, ",");
    if (range_count == RANGES_MAX || !parse_range(p, n, &ranges[range_count])) {
      return eco_error(ECO_INVALID_REQUEST, "ECOLINK_GATEWAY_TRUSTED_PROXIES: not a list of at most %d CIDRs",
                       RANGES_MAX);
    }
    range_count++;
    p += n + (p[n] == ',');
  }
  return eco_success();
}

bool gw_config_trusts(const struct sockaddr *peer) {
  const uint8_t *addr = peer->sa_family == AF_INET6
                            ? (const uint8_t *)&((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr
                            : (const uint8_t *)&((const struct sockaddr_in *)(const void *)peer)->sin_addr;
  for (size_t i = 0; i < range_count; i++) {
    if (ranges[i].family != peer->sa_family) {
      continue;
    }
    unsigned bytes = ranges[i].bits / 8;
    unsigned rest = ranges[i].bits % 8;
    uint8_t mask = (uint8_t)(0xff00 >> rest);
    if (memcmp(addr, ranges[i].addr, bytes) == 0 &&
        (rest == 0 || ((addr[bytes] ^ ranges[i].addr[bytes]) & mask) == 0)) {
      return true;
    }
  }
  return false;
}

eco_status gw_config_listen_address(struct sockaddr_storage *out) {
  const char *text = gw_cfg.listen;
  const char *colon = strrchr(text, ':');
  char host[64] = "0.0.0.0";
  int64_t port = 0;
  bool ok = colon != NULL && colon[1] != 0 && (size_t)(colon - text) < sizeof host;
  for (const char *p = ok ? colon + 1 : ""; *p; p++) {
    ok = ok && *p >= '0' && *p <= '9';
    port = port * 10 + (*p - '0');
    ok = ok && port <= 65535;
  }
  if (ok && colon > text) {
    bool v6 = text[0] == '[' && colon[-1] == ']';
    size_t n = (size_t)(colon - text) - (v6 ? 2 : 0);
    memcpy(host, text + (v6 ? 1 : 0), n);
    host[n] = 0;
  }
  memset(out, 0, sizeof *out);
  struct sockaddr_in *v4 = (struct sockaddr_in *)out;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
  if (ok && inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
    return eco_success();
  }
  if (ok && inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    return eco_success();
  }
  return eco_error(ECO_INVALID_REQUEST, "ECOLINK_GATEWAY_LISTEN: \"%s\" is not <IP>:<port>", text);
}
