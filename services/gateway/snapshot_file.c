// The snapshot file: what lets a gateway start while the bus is away; see snapshot.h for the format.
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yyjson.h>

#include "ecolink/buf.h"
#include "ecolink/id.h"
#include "snapshot.h"

static const char MAGIC[] = "ECOGWS1\n";
enum {
  MAGIC_LEN = sizeof MAGIC - 1,
  RECORD_KEY = 1,
  RECORD_ROUTE = 2,
  RECORD_END = 0,
  PAYLOAD_MAX = 64 * 1024,
  SAVE_PATH_MAX = 4096
};

typedef struct file_writer {
  FILE *f;
  crypto_hash_sha256_state hash;
  bool failed;
} file_writer;

static void write_bytes(file_writer *w, const void *p, size_t n) {
  crypto_hash_sha256_update(&w->hash, p, n);
  w->failed = w->failed || fwrite(p, 1, n, w->f) != n;
}

static void write_record(file_writer *w, uint8_t type, const void *a, size_t an, const void *b, size_t bn) {
  uint32_t n = (uint32_t)(an + bn);
  uint8_t head[5] = {type, (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), (uint8_t)(n >> 24)};
  write_bytes(w, head, sizeof head);
  write_bytes(w, a, an);
  write_bytes(w, b, bn);
}

static void write_key(file_writer *w, const gw_key *k) {
  Ecolink__V1__KeyEntry e = ECOLINK__V1__KEY_ENTRY__INIT;
  e.key_id = k->cell->key_id;
  e.account_id = k->cell->account_id;
  e.member_id = k->cell->member_id;
  e.operator_id = k->cell->operator_id;
  e.role = (Ecolink__V1__Role)k->role;
  e.expires_at_us = k->expires_at_us;
  e.rate_limit_per_minute = k->rate_limit;
  e.spend_cap_micros = k->spend_cap_micros;
  e.revoked = k->revoked;
  uint8_t packed[512];
  if (ecolink__v1__key_entry__get_packed_size(&e) <= sizeof packed) {
    write_record(w, RECORD_KEY, k->hash, 32, packed, ecolink__v1__key_entry__pack(&e, packed));
  }
}

static void write_all(file_writer *w, const gw_snapshot *s) {
  write_bytes(w, MAGIC, MAGIC_LEN);
  for (size_t i = 0; i < GW_SHARDS; i++) {
    for (uint32_t k = 0; s->keys[i] && k <= s->keys[i]->mask; k++) {
      if (s->keys[i]->slots[k].cell) {
        write_key(w, &s->keys[i]->slots[k]);
      }
    }
    for (uint32_t k = 0; s->routes[i] && k <= s->routes[i]->mask; k++) {
      const gw_route *r = s->routes[i]->slots[k].route;
      if (r) {
        write_record(w, RECORD_ROUTE, r->packed, r->packed_len, "", 0);
      }
    }
  }
  uint8_t end[5] = {RECORD_END, 32};
  uint8_t sum[32];
  write_bytes(w, end, sizeof end);
  crypto_hash_sha256_final(&w->hash, sum);
  w->failed = w->failed || fwrite(sum, 1, sizeof sum, w->f) != sizeof sum;
}

static eco_status save(gw_store *st, unsigned reader, const char *path) {
  char tmp[SAVE_PATH_MAX];
  (void)snprintf(tmp, sizeof tmp, "%s.tmp", path);
  int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  file_writer w = {.f = fd >= 0 ? fdopen(fd, "w") : NULL};
  if (!w.f) {
    if (fd >= 0) {
      close(fd);
    }
    return eco_error(ECO_INTERNAL, "snapshot file %s: %m", tmp);
  }
  crypto_hash_sha256_init(&w.hash);
  write_all(&w, gw_reader_begin(st, reader));
  gw_reader_end(st, reader);
  bool failed = w.failed || fflush(w.f) != 0 || fsync(fd) != 0;
  failed = fclose(w.f) != 0 || failed;
  if (failed || rename(tmp, path) != 0) {
    unlink(tmp);
    return eco_error(ECO_INTERNAL, "snapshot file %s: %m", path);
  }
  return eco_success();
}

// Two processes may want to save at once, one that drains and its successor. The lock is let go with its process, so
// that a kill leaves one unfinished file, which the next save overwrites.
eco_status gw_snapshot_save(gw_store *st, unsigned reader, const char *path) {
  char name[SAVE_PATH_MAX];
  if (snprintf(name, sizeof name, "%s.lock", path) >= (int)sizeof name) {
    return eco_error(ECO_INTERNAL, "snapshot file: path too long");
  }
  int lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0) {
    return eco_error(ECO_INTERNAL, "snapshot file %s: %m", name);
  }
  eco_status saved = flock(lock, LOCK_EX | LOCK_NB) == 0
                         ? save(st, reader, path)
                         : eco_error(ECO_OVERLOADED, "snapshot file %s: another process is saving it", path);
  close(lock);
  return saved;
}

static bool load_key(gw_store *st, const uint8_t *p, size_t n) {
  Ecolink__V1__KeyEntry *e = n >= 32 ? ecolink__v1__key_entry__unpack(NULL, n - 32, p + 32) : NULL;
  bool ok = e && gw_store_put_key(st, p, e, true);
  ecolink__v1__key_entry__free_unpacked(e, NULL);
  return ok;
}

// Walks the records; with st == NULL only checks. False on anything odd.
static bool walk(gw_store *st, const uint8_t *p, size_t n, size_t *keys, size_t *routes) {
  if (n < MAGIC_LEN || memcmp(p, MAGIC, MAGIC_LEN) != 0) {
    return false;
  }
  size_t at = MAGIC_LEN;
  while (n - at >= 5) {
    uint8_t type = p[at];
    size_t len = (size_t)p[at + 1] | ((size_t)p[at + 2] << 8) | ((size_t)p[at + 3] << 16) | ((size_t)p[at + 4] << 24);
    at += 5;
    if (len > n - at || len > PAYLOAD_MAX) {
      return false;
    }
    if (type == RECORD_END) {
      uint8_t sum[32];
      crypto_hash_sha256(sum, p, at);
      return len == 32 && at + len == n && sodium_memcmp(sum, p + at, 32) == 0;
    }
    if (st && type == RECORD_KEY) {
      *keys += load_key(st, p + at, len);
    } else if (st && type == RECORD_ROUTE) {
      *routes += gw_store_put_route(st, p + at, len, true);
    }
    at += len;
  }
  return false;
}

static bool read_whole(const char *path, uint8_t **out, size_t *len) {
  FILE *f = fopen(path, "re");
  struct stat info;
  if (!f || fstat(fileno(f), &info) != 0) {
    if (f) {
      fclose(f);
    }
    return false;
  }
  *len = (size_t)info.st_size;
  *out = malloc(*len + 1);
  bool ok = *out && fread(*out, 1, *len, f) == *len;
  fclose(f);
  if (!ok) {
    free(*out);
  }
  return ok;
}

eco_status gw_snapshot_load(gw_store *st, const char *path, size_t *keys, size_t *routes) {
  uint8_t *data = NULL;
  size_t n = 0;
  *keys = 0;
  *routes = 0;
  if (!read_whole(path, &data, &n)) {
    return eco_error(ECO_NOT_FOUND, "snapshot file %s: %m", path);
  }
  bool ok = walk(NULL, data, n, keys, routes);
  if (ok) {
    (void)walk(st, data, n, keys, routes);
  }
  free(data);
  return ok ? eco_success() : eco_error(ECO_INTERNAL, "snapshot file %s: damaged or of another version", path);
}

// ---- from JSON ----

static const char *text_of(yyjson_val *o, const char *name) {
  const char *s = yyjson_get_str(yyjson_obj_get(o, name));
  return s ? s : "";
}

static bool key_from_json(gw_store *st, yyjson_val *o) {
  const char *key = text_of(o, "key");
  const char *role = text_of(o, "role");
  uint8_t hash[32];
  eco_sha256(key, strlen(key), hash);
  Ecolink__V1__KeyEntry e = ECOLINK__V1__KEY_ENTRY__INIT;
  e.key_id = (char *)text_of(o, "key_id");
  e.account_id = (char *)text_of(o, "account_id");
  e.member_id = (char *)text_of(o, "member_id");
  e.operator_id = (char *)text_of(o, "operator_id");
  e.role = strcmp(role, "operator") == 0 ? ECOLINK__V1__ROLE__ROLE_OPERATOR
           : strcmp(role, "owner") == 0  ? ECOLINK__V1__ROLE__ROLE_OWNER
           : strcmp(role, "member") == 0 ? ECOLINK__V1__ROLE__ROLE_MEMBER
                                         : ECOLINK__V1__ROLE__ROLE_INFERENCE;
  e.expires_at_us = yyjson_get_sint(yyjson_obj_get(o, "expires_at_us"));
  e.rate_limit_per_minute = (int32_t)yyjson_get_sint(yyjson_obj_get(o, "rate_limit_per_minute"));
  e.revoked = yyjson_get_bool(yyjson_obj_get(o, "revoked"));
  return key[0] && gw_store_put_key(st, hash, &e, false);
}

static bool route_from_json(gw_store *st, yyjson_val *o) {
  Ecolink__V1__RouteReplica replicas[GW_REPLICAS_MAX];
  Ecolink__V1__RouteReplica *pointers[GW_REPLICAS_MAX];
  Ecolink__V1__RouteEntry e = ECOLINK__V1__ROUTE_ENTRY__INIT;
  const char *status = text_of(o, "status");
  yyjson_val *compatible = yyjson_obj_get(o, "openai_compatible");
  e.instance_id = yyjson_get_sint(yyjson_obj_get(o, "instance_id"));
  e.account_id = (char *)text_of(o, "account_id");
  e.served_name = (char *)text_of(o, "served_name");
  e.openai_compatible = compatible ? yyjson_get_bool(compatible) : true;
  e.custom_api_path = (char *)text_of(o, "custom_api_path");
  e.status_detail = (char *)text_of(o, "status_detail");
  e.retry_after_s = (int32_t)yyjson_get_sint(yyjson_obj_get(o, "retry_after_s"));
  e.created_at_us = yyjson_get_sint(yyjson_obj_get(o, "created_at_us"));
  e.status = strcmp(status, "pending") == 0        ? ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_PENDING
             : strcmp(status, "provisioning") == 0 ? ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_PROVISIONING
             : strcmp(status, "stopping") == 0     ? ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPING
                                                   : ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_RUNNING;
  e.replicas = pointers;
  yyjson_val *list = yyjson_obj_get(o, "replicas");
  for (size_t i = 0; i < yyjson_arr_size(list) && i < GW_REPLICAS_MAX; i++) {
    yyjson_val *r = yyjson_arr_get(list, i);
    replicas[i] = (Ecolink__V1__RouteReplica)ECOLINK__V1__ROUTE_REPLICA__INIT;
    replicas[i].replica_id = (int32_t)yyjson_get_sint(yyjson_obj_get(r, "replica_id"));
    replicas[i].region = (char *)text_of(r, "region");
    replicas[i].host = (char *)text_of(r, "host");
    replicas[i].port = (int32_t)yyjson_get_sint(yyjson_obj_get(r, "port"));
    replicas[i].token = (char *)text_of(r, "token");
    replicas[i].run_id = (char *)text_of(r, "run_id");
    pointers[i] = &replicas[i];
    e.n_replicas++;
  }
  size_t n = ecolink__v1__route_entry__get_packed_size(&e);
  uint8_t *packed = malloc(n + 1);
  bool ok = packed && gw_store_put_route(st, packed, ecolink__v1__route_entry__pack(&e, packed), false);
  free(packed);
  return ok;
}

int gw_snapshot_from_json(const char *in, const char *out) {
  yyjson_read_err error;
  yyjson_doc *doc = yyjson_read_file(in, 0, NULL, &error);
  if (!doc) {
    fprintf(stderr, "%s: %s\n", in, error.msg);
    return 1;
  }
  gw_store *st = gw_store_new(1);
  yyjson_val *root = yyjson_doc_get_root(doc);
  bool ok = true;
  size_t i;
  size_t max;
  yyjson_val *o;
  yyjson_arr_foreach(yyjson_obj_get(root, "keys"), i, max, o) {
    ok = key_from_json(st, o) && ok;
  }
  yyjson_arr_foreach(yyjson_obj_get(root, "routes"), i, max, o) {
    ok = route_from_json(st, o) && ok;
  }
  gw_store_publish(st);
  eco_status saved = gw_snapshot_save(st, 0, out);
  if (!ok || !eco_ok(saved)) {
    fprintf(stderr, "%s\n", ok ? saved.message : "a key or route is malformed");
  }
  gw_store_free(st);
  yyjson_doc_free(doc);
  return ok && eco_ok(saved) ? 0 : 1;
}
