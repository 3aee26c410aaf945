// HTTP to the Hub. Its own redirects to where large files lie are followed; the token goes to the Hub alone (libcurl
// gives a header of ours to no other host).
#include "fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ecolink/buf.h"

enum {
  LIST_BYTES_MAX = 64 * 1024 * 1024,
  URL_BYTES_MAX = 8192,
  CONNECT_TIMEOUT_S = 15,
  SILENCE_S = 60,  // a transfer below one byte a second for so long is given up, and resumed
  BLOCK = 1 << 20,
};

// Everything but unreserved characters and slashes is escaped.
static bool put_escaped(eco_buf *out, const char *text, bool keep_slashes) {
  static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  bool ok = true;
  for (; *text && ok; text++) {
    bool as_is = strchr(plain, *text) || (keep_slashes && *text == '/');
    ok = as_is ? eco_buf_putc(out, *text) : eco_buf_printf(out, "%%%02X", (unsigned char)*text);
  }
  return ok;
}

static bool put_base(eco_buf *out, const char *url) {
  size_t n = strlen(url);
  while (n > 0 && url[n - 1] == '/') {
    n--;
  }
  return eco_buf_append(out, url, n);
}

static CURL *request(const weights_hub *hub, const char *url, struct curl_slist **headers) {
  char line[4096];
  CURL *easy = curl_easy_init();
  bool secure = strncmp(hub->url, "https://", 8) == 0;
  *headers = NULL;
  if (!easy) {
    return NULL;
  }
  if (*hub->token) {
    (void)snprintf(line, sizeof(line), "Authorization: Bearer %s", hub->token);
    *headers = curl_slist_append(NULL, line);
    sodium_memzero(line, sizeof(line));
  }
  curl_easy_setopt(easy, CURLOPT_URL, url);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, secure ? "https" : "http,https");
  curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(easy, CURLOPT_MAXREDIRS, 5L);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)SILENCE_S);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "ecolink-weights/" ECO_VERSION);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, *headers);
  return easy;
}

static eco_status judge(const weights_hub *hub, CURL *easy, CURLcode result, const char *what) {
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  if (status == 401 || status == 403) {
    return eco_error(ECO_FORBIDDEN, "%s: the hub shows %.200s only to who may see it",
                     *hub->token ? "the model's hf_token is refused" : "the model needs an hf_token", hub->repo);
  }
  if (status == 404) {
    return eco_error(ECO_NOT_FOUND, "the hub has no %.200s (%.200s at %.100s)", what, hub->repo, hub->revision);
  }
  if (result != CURLE_OK) {
    return eco_error(ECO_UPSTREAM_ERROR, "%.200s: %s", what, curl_easy_strerror(result));
  }
  if (status != 200 && status != 206) {
    return eco_error(ECO_UPSTREAM_ERROR, "%.200s: the hub answers %ld", what, status);
  }
  return eco_success();
}

static void end(CURL *easy, struct curl_slist *headers) {
  curl_easy_cleanup(easy);
  for (struct curl_slist *h = headers; h; h = h->next) {
    sodium_memzero(h->data, strlen(h->data));
  }
  curl_slist_free_all(headers);
}

// ---- the list ----
static size_t on_list(char *data, size_t size, size_t n, void *arg) {
  return eco_buf_append(arg, data, size * n) ? size * n : 0;
}

eco_status weights_list(const weights_hub *hub, eco_arena *arena, weights_plan *out) {
  eco_buf url;
  eco_buf body;
  struct curl_slist *headers = NULL;
  eco_buf_init(&url, URL_BYTES_MAX);
  eco_buf_init(&body, LIST_BYTES_MAX);
  bool ok = put_base(&url, hub->url) && eco_buf_puts(&url, "/api/models/") && put_escaped(&url, hub->repo, true) &&
            eco_buf_puts(&url, "/revision/") && put_escaped(&url, hub->revision, false) &&
            eco_buf_puts(&url, "?blobs=true");
  CURL *easy = ok ? request(hub, url.data, &headers) : NULL;
  eco_status st = eco_error(ECO_OVERLOADED, "not enough memory");
  if (easy) {
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_list);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &body);
    CURLcode result = curl_easy_perform(easy);
    st = judge(hub, easy, result, "list of files");
    end(easy, headers);
  }
  if (eco_ok(st)) {
    st = weights_plan_read(body.data, body.len, arena, out);
  }
  eco_buf_free(&url);
  eco_buf_free(&body);
  return st;
}

// ---- one file ----
typedef struct arriving {
  CURL *easy;
  int fd;
  int64_t have;
  int64_t size;
  crypto_hash_sha256_state hash;
  weights_progress_fn fn;
  void *arg;
  bool begun;
  bool restarted;  // the hub begins at the first byte although asked for later ones
  int write_errno;
} arriving;

static bool write_all(int fd, const char *data, size_t len) {
  while (len > 0) {
    ssize_t n = write(fd, data, len);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      return false;
    }
    data += n;
    len -= (size_t)n;
  }
  return true;
}

static bool begin_anew(arriving *a) {
  a->have = 0;
  (void)crypto_hash_sha256_init(&a->hash);
  return ftruncate(a->fd, 0) == 0 && lseek(a->fd, 0, SEEK_SET) == 0;
}

static size_t on_file(char *data, size_t size, size_t n, void *arg) {
  arriving *a = arg;
  size_t len = size * n;
  long status = 0;
  curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &status);
  if (status != 200 && status != 206) {
    return len;  // an error's words
  }
  if (!a->begun && status == 200 && a->have > 0 && !begin_anew(a)) {
    a->write_errno = errno;
    return 0;
  }
  a->begun = true;
  if (a->have + (int64_t)len > a->size) {
    return 0;  // longer than promised: another file
  }
  if (!write_all(a->fd, data, len)) {
    a->write_errno = errno;
    return 0;
  }
  (void)crypto_hash_sha256_update(&a->hash, (const unsigned char *)data, len);
  a->have += (int64_t)len;
  a->fn(a->arg, a->have);
  return len;
}

// What is there already goes into the hash first.
static bool hash_existing(arriving *a) {
  static unsigned char block[BLOCK];
  (void)crypto_hash_sha256_init(&a->hash);
  a->have = 0;
  for (;;) {
    ssize_t n = read(a->fd, block, sizeof(block));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      return n == 0;
    }
    (void)crypto_hash_sha256_update(&a->hash, block, (size_t)n);
    a->have += n;
  }
}

static eco_status verify(arriving *a, const weights_file *f) {
  unsigned char hash[crypto_hash_sha256_BYTES];
  char hex[2 * sizeof(hash) + 1];
  (void)crypto_hash_sha256_final(&a->hash, hash);
  (void)sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash));
  if (a->have != f->size) {
    return eco_error(ECO_UPSTREAM_ERROR, "%.200s ended after %lld of %lld bytes", f->path, (long long)a->have,
                     (long long)f->size);
  }
  if (f->has_sha256 && strcmp(hex, f->blob) != 0) {
    (void)begin_anew(a);  // nothing of it can be trusted
    return eco_error(ECO_UPSTREAM_ERROR, "%.200s has not the content that the hub promised", f->path);
  }
  return fsync(a->fd) == 0 ? eco_success() : eco_error(ECO_INTERNAL, "%.200s: %s", f->path, strerror(errno));
}

static eco_status transfer(const weights_hub *hub, const char *commit, const weights_file *f, arriving *a) {
  eco_buf url;
  char range[64];
  struct curl_slist *headers = NULL;
  eco_buf_init(&url, URL_BYTES_MAX);
  bool ok = put_base(&url, hub->url) && eco_buf_putc(&url, '/') && put_escaped(&url, hub->repo, true) &&
            eco_buf_puts(&url, "/resolve/") && eco_buf_puts(&url, commit) && eco_buf_putc(&url, '/') &&
            put_escaped(&url, f->path, true);
  a->easy = ok ? request(hub, url.data, &headers) : NULL;
  eco_buf_free(&url);
  if (!a->easy) {
    return eco_error(ECO_OVERLOADED, "not enough memory");
  }
  if (a->have > 0) {
    (void)snprintf(range, sizeof(range), "%lld-", (long long)a->have);
    curl_easy_setopt(a->easy, CURLOPT_RANGE, range);
  }
  curl_easy_setopt(a->easy, CURLOPT_WRITEFUNCTION, on_file);
  curl_easy_setopt(a->easy, CURLOPT_WRITEDATA, a);
  CURLcode result = curl_easy_perform(a->easy);
  eco_status st = a->write_errno ? eco_error(ECO_INTERNAL, "cannot write %.200s: %s", f->path, strerror(a->write_errno))
                                 : judge(hub, a->easy, result, f->path);
  end(a->easy, headers);
  return st;
}

eco_status weights_fetch(const weights_hub *hub, const weights_cache *cache, const char *commit, const weights_file *f,
                         weights_progress_fn fn, void *arg) {
  char path[WEIGHTS_PATH_MAX];
  arriving a = {.size = f->size, .fn = fn, .arg = arg};
  weights_cache_blob(cache, f, true, path);
  a.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0664);
  if (a.fd < 0) {
    return eco_error(ECO_INTERNAL, "cannot open %.300s: %s", path, strerror(errno));
  }
  eco_status st = eco_success();
  if (!hash_existing(&a) || a.have > f->size) {
    st = begin_anew(&a) ? eco_success() : eco_error(ECO_INTERNAL, "%.300s: %s", path, strerror(errno));
  }
  if (eco_ok(st) && a.have < f->size) {
    st = transfer(hub, commit, f, &a);
  }
  if (eco_ok(st)) {
    st = verify(&a, f);
  }
  (void)close(a.fd);
  ECO_TRY(st);
  return weights_cache_keep(cache, f);
}
