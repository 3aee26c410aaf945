// The gateway's own settings (prefix ECOLINK_GATEWAY_). Loaded once before threads, read-only afterwards.
#ifndef GATEWAY_CONFIG_H
#define GATEWAY_CONFIG_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "ecolink/config.h"

typedef struct gw_config {
  const char *listen;
  const char *region;
  const char *snapshot_file;
  const char *spool_dir;
  const char *trusted_proxies;
  const char *handover_socket;
  int64_t loops;
  int64_t spool_max_bytes;
  int64_t rate_limit_default;
  int64_t rate_limit_share;
  int64_t public_rate_limit;
  int64_t refusal_lines;
  int64_t json_body_max;
  int64_t multipart_body_max;
  int64_t held_max;
  int64_t clients_max;
  int64_t connect_timeout_ms;
  int64_t first_byte_timeout_ms;
  int64_t idle_timeout_ms;
  int64_t client_head_timeout_ms;
  int64_t client_body_timeout_ms;
  int64_t client_idle_timeout_ms;
  int64_t client_write_timeout_ms;
  int64_t upstream_keepalive_ms;
  int64_t tunnel_idle_timeout_ms;
  int64_t drain_requests_s;
} gw_config;

extern gw_config gw_cfg;
extern const eco_setting gw_settings[];

// Refuses bad combinations and parses lists.
eco_status gw_config_check(void);
// Whether this peer may send X-Forwarded-* (TRUSTED_PROXIES).
bool gw_config_trusts(const struct sockaddr *peer);
// "host:port", "[v6]:port" or ":port" -> an address to bind.
eco_status gw_config_listen_address(struct sockaddr_storage *out);

#endif
