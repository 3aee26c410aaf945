// Every bound of the gateway in one place, with its reason. What an operator may want to change is a setting
// (config.h).
#ifndef GATEWAY_LIMITS_H
#define GATEWAY_LIMITS_H

enum {
  GW_BLOCK_SIZE = 16384,         // pooled unit of heads, bodies and output
  GW_LARGE_BLOCK = 64 * 1024,    // pooled unit of bodies that declare at least as much: they are read into it
  GW_READ_BUFFER = 256 * 1024,   // one per loop, parsed in place
  GW_HEAD_READ = 16384,          // of it, while a request's head is awaited
  GW_SCRATCH = 40 * 1024,        // one per loop: a rebuilt head (at most a block) and what we add to it
  GW_URL_MAX = 8192,             // longer targets: 400
  GW_HEADERS_MAX = 100,          // more header lines: 400
  GW_TRAILERS_MAX = 8192,        // bytes of trailers, and of one chunk's extensions: both are dropped
  GW_BLANK_LINES_MAX = 4,        // CRLF before a request line (RFC 9112 section 2.2 wants one tolerated)
  GW_OUT_SMALL = 16384,          // output up to this is queued and flushed once per turn
  GW_OUT_HIGH = 64 * 1024,       // a longer write queue stops the peer's reads
  GW_OUT_LOW = 16 * 1024,        // and a shorter one starts them again
  GW_IOV_MAX = 16,               // buffers per writev
  GW_READS_PER_TURN = 4,         // per connection, so that one fast peer does not starve the rest
  GW_EVENTS_MAX = 64,            // taken from the kernel at once; after as many, a turn's output is written
  GW_EVENTS_MANY = 4,            // so many at once: more are taken before it is
  GW_ACCEPTS_PER_TURN = 64,      // new clients
  GW_REPLAY_MAX = 1024 * 1024,   // bodies up to this are kept until content has reached the client
  GW_FORWARD_AFTER = 64 * 1024,  // a body with known model starts to flow when this much is held; shorter ones go whole
  GW_UPLOAD_AHEAD = 256 * 1024,  // a streamed upload is read at most this far ahead of the engine
  GW_HOLD_MAX = 16384,           // answer bytes held before the first content, and of a partial SSE event
  GW_HOLD_MS = 1000,             // ... and for how long
  GW_ATTEMPTS_MAX = 3,           // replicas tried per request
  GW_MODEL_MAX = 512,            // bytes of the model string
  GW_SERVED_MAX = 160,           // bytes of a served name, JSON-escaped: names are at most 128 safe bytes
  GW_PARTS_MAX = 64,             // multipart: parts
  GW_PART_HEADERS_MAX = 8192,    // multipart: bytes of one part's headers
  GW_PART_LINE_MAX = 1024,       // multipart: a Content-Disposition line
  GW_BOUNDARY_MAX = 70,          // RFC 2046 section 5.1.1
  GW_REPLICAS_MAX = 16,          // per route
  GW_JANITOR_MS = 100,
  GW_LINGER_MS = 2000,  // after an early error: how long a sender may finish
  GW_LINGER_BYTES = 4 * 1024 * 1024,
  GW_IDLE_UPSTREAMS_MAX = 256,  // kept per replica and loop
  GW_POOL_KEEP = 1024,          // free blocks kept per loop (16 MiB)
  GW_POOL_KEEP_LARGE = 256,     // and large ones (16 MiB)
  GW_LISTEN_BACKLOG = 1024,
  GW_LOOPS_MAX = 64,             // LOOPS' maximum, and so that of listening sockets
  GW_HANDOVER_STEP_MS = 5000,    // hand-over: for the other side's next word
  GW_HANDOVER_READY_MS = 30000,  // ... and for a successor to know keys and routes
  GW_DRAIN_IDLE_MS = 5000,       // after a hand-over: a kept connection that is idle for so long is closed
  GW_USAGE_RING = 16384,         // records per loop between two drains
  GW_USAGE_BATCH = 4096,         // aggregated records per published batch
  GW_USAGE_FLUSH_MS = 200,
  GW_ADDRESS_SLOTS = 65536,              // strangers' rate limits: half a megabyte, whoever comes
  GW_SHARDS = 256,                       // per snapshot table: a change copies one
  GW_MODELS_LIST_MAX = 2 * 1024 * 1024,  // bytes of GET /v1/models
};

#endif
