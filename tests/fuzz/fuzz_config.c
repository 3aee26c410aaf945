// Fuzzes the settings' parser: the input is an environment (lines NAME=value below the service's prefix) and, behind an
// empty line, the content of the file that *_FILE names. What is taken keeps its table's bounds, a secret's value is
// never in a message, and the same environment gives the same answer twice.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// its strings live until exit: here until the end of the input
#include "config.c"  // NOLINT(bugprone-suspicious-include)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VARIABLES_MAX = 32, MARKED_MIN = 8 };
// Stands at the front of a longer secret: found in a message, the secret was shown.
static const char MARK[] = "\x01hush\x02";

static const char *listen_on;
static const char *secret;
static const char *password;
static const char *format;
static int64_t loops;
static int64_t offset_us;
static bool strict;

static const eco_setting SETTINGS[] = {
    {.name = "LISTEN", .kind = ECO_SET_STR, .target = &listen_on, .fallback = "127.0.0.1:1", .help = "address"},
    {.name = "SECRET", .kind = ECO_SET_SECRET, .target = &secret, .fallback = "", .help = "optional secret"},
    {.name = "PASSWORD", .kind = ECO_SET_SECRET, .target = &password, .fallback = NULL, .help = "needed secret"},
    {.name = "FORMAT",
     .kind = ECO_SET_CHOICE,
     .target = &format,
     .fallback = "json",
     .help = "format",
     .choices = "json,text"},
    {.name = "LOOPS", .kind = ECO_SET_I64, .target = &loops, .fallback = "1", .help = "loops", .min = 1, .max = 64},
    {.name = "OFFSET_US",
     .kind = ECO_SET_I64,
     .target = &offset_us,
     .fallback = "0",
     .help = "offset",
     .min = INT64_MIN,
     .max = INT64_MAX},
    {.name = "STRICT", .kind = ECO_SET_BOOL, .target = &strict, .fallback = "false", .help = "strict"},
    ECO_SETTING_END,
};

static void require(bool ok) {
  if (!ok) {
    abort();
  }
}

// The lines become variables in place; what follows an empty line is the file's content.
static char *split(char *text, char **variables, size_t *n) {
  char *at = text;
  while (*at != '\0' && *n < VARIABLES_MAX) {
    char *end = strchr(at, '\n');
    if (end == at) {
      return at + 1;
    }
    variables[(*n)++] = at;
    if (end == NULL) {
      return at + strlen(at);
    }
    *end = '\0';
    at = end + 1;
  }
  return at;
}

static void check(eco_status st, bool marked) {
  if (!eco_ok(st)) {
    require(st.code == ECO_INVALID_REQUEST && st.message[0] != '\0');
    require(!marked || strstr(st.message, MARK) == NULL);
    return;
  }
  require(listen_on != NULL && secret != NULL && password != NULL && password[0] != '\0');
  require(loops >= 1 && loops <= 64 && (strcmp(format, "json") == 0 || strcmp(format, "text") == 0));
}

static void drop_kept(void) {
  while (kept != NULL) {
    kept_string *k = kept;
    kept = k->next;
    free(k);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const eco_setting *const TABLES[] = {SETTINGS, NULL};
  static int fd = -1;
  if (fd < 0) {
    fd = memfd_create("secret", 0);
    require(fd == 3 || fd > 3);
  }
  char *text = malloc(size + 1);
  memcpy(text, data, size);
  text[size] = '\0';
  char *variables[VARIABLES_MAX + 2] = {0};
  size_t n = 0;
  char *file = split(text, variables, &n);
  const size_t file_len = size - (size_t)(file - text);
  char path[64];
  (void)snprintf(path, sizeof path, "ECOLINK_FUZZ_PASSWORD_FILE=/proc/self/fd/%d", fd);
  // a mark of the input's own in a variable would be shown with that variable's value
  const bool marked = file_len >= MARKED_MIN && memmem(data, size, MARK, sizeof MARK - 1) == NULL;
  const off_t at = marked ? sizeof MARK - 1 : 0;
  require(ftruncate(fd, 0) == 0 && pwrite(fd, MARK, (size_t)at, 0) == at);
  require(pwrite(fd, file, file_len, at) == (ssize_t)file_len);
  if (file_len > 0) {
    variables[n++] = path;
  }
  // A path of the input's own must not lead out: it is only ever this file.
  for (size_t i = 0; i < n; i++) {
    char *equals = strchr(variables[i], '=');
    if (variables[i] != path && equals != NULL && equals - variables[i] > 5 && strncmp(equals - 5, "_FILE", 5) == 0) {
      equals[1] = '\0';
    }
  }
  char **before = environ;
  environ = variables;
  const eco_status first = eco_config_load("fuzz", TABLES);
  const eco_status second = eco_config_load("fuzz", TABLES);
  environ = before;
  require(first.code == second.code && strcmp(first.message, second.message) == 0);
  check(first, marked);
  drop_kept();
  free(text);
  return 0;
}
