// A WebSocket echo (RFC 6455): text and binary frames come back as they were, fragments included; ping gets pong, close
// closes.
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10, FRAME_BYTES_MAX = 4 * 1024 * 1024 };

void sim_websocket_accept(sim_conn *c) {
  static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  const char *key = sim_header_get(c, "Sec-WebSocket-Key");
  if (!key || strlen(key) > 64) {
    c->websocket = false;
    sim_reply_error(c, 400, "bad_handshake", "Sec-WebSocket-Key is missing");
    return;
  }
  char joined[128];
  uint8_t digest[20];
  int n = snprintf(joined, sizeof(joined), "%s%s", key, magic);
  sim_sha1(joined, (size_t)n, digest);
  char *accept = sim_base64(digest, sizeof(digest));
  char head[300];
  n = snprintf(
      head, sizeof(head),
      "HTTP/1.1 101 Switching Protocols\r\nServer: ecolink-simulator\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: %s\r\nx-simulator-pid: %d\r\n\r\n",
      accept, (int)uv_os_getpid());
  free(accept);
  sim_raw(c, head, (size_t)n);
  if (c->pending_len) {  // frames that came with the handshake
    char *p = c->pending;
    size_t k = c->pending_len;
    c->pending = NULL;
    c->pending_len = 0;
    sim_websocket_input(c, (const uint8_t *)p, k);
    free(p);
  }
}

static void send_frame(sim_conn *c, uint8_t first, const uint8_t *p, size_t n) {
  uint8_t *out = sim_alloc(n + 10);
  size_t k = 2;
  out[0] = first;
  if (n < 126) {
    out[1] = (uint8_t)n;
  } else if (n < 65536) {
    out[1] = 126;
    out[2] = (uint8_t)(n >> 8);
    out[3] = (uint8_t)n;
    k = 4;
  } else {
    out[1] = 127;
    for (int i = 0; i < 8; i++) {
      out[2 + i] = (uint8_t)((uint64_t)n >> (56 - 8 * i));
    }
    k = 10;
  }
  memcpy(out + k, p, n);
  sim_raw(c, out, n + k);
  free(out);
}

// Digests one frame at the front of `frames`. Returns its length, 0 when it is not whole yet, SIZE_MAX when it is none.
static size_t digest_frame(sim_conn *c) {
  uint8_t *f = c->frames;
  if (c->frames_len < 2) {
    return 0;
  }
  size_t n = f[1] & 0x7f;
  size_t at = 2;
  int extra = n == 126 ? 2 : n == 127 ? 8 : 0;
  if (c->frames_len < at + (size_t)extra + 4) {
    return 0;
  }
  if (extra) {
    uint64_t length = 0;
    for (int i = 0; i < extra; i++) {
      length = length << 8 | f[at++];
    }
    if (length > FRAME_BYTES_MAX) {
      return SIZE_MAX;
    }
    n = (size_t)length;
  }
  if (!(f[1] & 0x80)) {  // clients must mask (section 5.1)
    return SIZE_MAX;
  }
  const uint8_t *mask = f + at;
  at += 4;
  if (c->frames_len < at + n) {
    return 0;
  }
  for (size_t i = 0; i < n; i++) {
    f[at + i] ^= mask[i % 4];
  }
  int op = f[0] & 0x0f;
  if (op == OP_PING) {
    send_frame(c, 0x80 | OP_PONG, f + at, n);
  } else if (op == OP_CLOSE) {
    send_frame(c, 0x80 | OP_CLOSE, f + at, n < 2 ? 0 : 2);
    return SIZE_MAX;
  } else if (op != OP_PONG) {
    send_frame(c, f[0], f + at, n);
  }
  return at + n;
}

void sim_websocket_input(sim_conn *c, const uint8_t *p, size_t n) {
  uint8_t *grown = c->frames_len + n <= FRAME_BYTES_MAX + 64 * 1024 * 8 ? realloc(c->frames, c->frames_len + n) : NULL;
  if (!grown) {
    sim_close(c);
    return;
  }
  memcpy(grown + c->frames_len, p, n);
  c->frames = grown;
  c->frames_len += n;
  size_t used;
  while (!c->closing && (used = digest_frame(c)) != 0) {
    if (used == SIZE_MAX) {
      sim_shut(c);
      return;
    }
    c->frames_len -= used;
    memmove(c->frames, c->frames + used, c->frames_len);
  }
}
