// Reading the Hub's list of files.
#include "plan.h"

#include <stdio.h>
#include <string.h>
#include <yyjson.h>

static bool ends_with(const char *s, const char *end) {
  size_t n = strlen(s);
  size_t m = strlen(end);
  return n >= m && strcmp(s + n - m, end) == 0;
}

bool weights_path_ok(const char *path) {
  size_t n = strlen(path);
  if (n == 0 || n >= WEIGHTS_PATH_MAX || path[0] == '/') {
    return false;
  }
  for (const char *p = path; *p; p++) {
    if (*p < ' ' || *p > '~' || *p == '\\') {
      return false;
    }
  }
  for (const char *part = path;; part = strchr(part, '/') + 1) {
    size_t len = strcspn(part, "/");
    if (len == 0 || (len == 1 && part[0] == '.') || (len == 2 && part[0] == '.' && part[1] == '.')) {
      return false;
    }
    if (!part[len]) {
      return true;
    }
  }
}

bool weights_is_wanted(const char *path, bool has_safetensors) {
  static const char *const never[] = {".msgpack", ".h5", ".ot", ".onnx", ".onnx_data", ".tflite", ".mlmodel"};
  static const char *const instead[] = {".bin", ".pt", ".pth", ".ckpt"};
  for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
    if (ends_with(path, never[i])) {
      return false;
    }
  }
  for (size_t i = 0; has_safetensors && i < sizeof(instead) / sizeof(instead[0]); i++) {
    if (ends_with(path, instead[i])) {
      return false;
    }
  }
  return strcmp(path, ".gitattributes") != 0;
}

bool weights_folder(const char *repo, char *out, size_t cap) {
  const char *slash = strchr(repo, '/');
  if (!weights_path_ok(repo) || (slash && strchr(slash + 1, '/'))) {
    return false;
  }
  int n = slash ? snprintf(out, cap, "models--%.*s--%s", (int)(slash - repo), repo, slash + 1)
                : snprintf(out, cap, "models--%s", repo);
  return n > 0 && (size_t)n < cap;
}

static bool take_hash(const char *s, char out[WEIGHTS_HASH_MAX]) {
  size_t n = s ? strlen(s) : 0;
  if ((n != 40 && n != 64) || strspn(s, "0123456789abcdef") != n) {
    return false;
  }
  memcpy(out, s, n + 1);
  return true;
}

static eco_status read_file(yyjson_val *sibling, weights_file *out) {
  yyjson_val *lfs = yyjson_obj_get(sibling, "lfs");
  const char *path = yyjson_get_str(yyjson_obj_get(sibling, "rfilename"));
  yyjson_val *size = yyjson_obj_get(yyjson_is_obj(lfs) ? lfs : sibling, "size");
  const char *hash =
      yyjson_get_str(yyjson_is_obj(lfs) ? yyjson_obj_get(lfs, "sha256") : yyjson_obj_get(sibling, "blobId"));
  *out = (weights_file){.path = path, .has_sha256 = yyjson_is_obj(lfs)};
  if (!path || !weights_path_ok(path)) {
    return eco_error(ECO_INVALID_REQUEST, "the repository has a file whose name leads astray");
  }
  if (!take_hash(hash, out->blob) || !yyjson_is_int(size) || yyjson_get_sint(size) < 0 ||
      (out->has_sha256 && strlen(out->blob) != 64)) {
    return eco_error(ECO_INVALID_REQUEST, "the hub tells neither size nor hash of %.200s", path);
  }
  out->size = yyjson_get_sint(size);
  return eco_success();
}

static eco_status read_siblings(yyjson_val *siblings, eco_arena *arena, weights_plan *out) {
  size_t i;
  size_t n;
  yyjson_val *sibling;
  bool has_safetensors = false;
  yyjson_arr_foreach(siblings, i, n, sibling) {
    const char *path = yyjson_get_str(yyjson_obj_get(sibling, "rfilename"));
    has_safetensors = has_safetensors || (path && ends_with(path, ".safetensors"));
  }
  out->files = eco_alloc_array(arena, yyjson_arr_size(siblings) + 1, sizeof(*out->files));
  yyjson_arr_foreach(siblings, i, n, sibling) {
    weights_file *f = &out->files[out->count];
    const char *path = yyjson_get_str(yyjson_obj_get(sibling, "rfilename"));
    if (path && !weights_is_wanted(path, has_safetensors)) {
      continue;
    }
    ECO_TRY(read_file(sibling, f));
    f->path = eco_strdup(arena, f->path);
    if (__builtin_add_overflow(out->bytes, f->size, &out->bytes)) {
      return eco_error(ECO_INVALID_REQUEST, "the repository's size cannot be");
    }
    out->count++;
  }
  return out->count ? eco_success()
                    : eco_error(ECO_INVALID_REQUEST, "the repository holds no file that an engine needs");
}

eco_status weights_plan_read(const char *body, size_t len, eco_arena *arena, weights_plan *out) {
  yyjson_doc *doc = len ? yyjson_read(body, len, 0) : NULL;
  yyjson_val *root = doc ? yyjson_doc_get_root(doc) : NULL;
  yyjson_val *siblings = yyjson_obj_get(root, "siblings");
  eco_status st = eco_error(ECO_INVALID_REQUEST, "the hub's answer is no list of files");
  *out = (weights_plan){0};
  if (take_hash(yyjson_get_str(yyjson_obj_get(root, "sha")), out->commit) && yyjson_is_arr(siblings) &&
      yyjson_arr_size(siblings) <= WEIGHTS_FILES_MAX) {
    st = read_siblings(siblings, arena, out);
  }
  yyjson_doc_free(doc);
  return st;
}
