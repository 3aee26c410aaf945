// Which gateway, with which key: options, environment, and the file that login writes.
#ifndef CLI_PROFILE_H
#define CLI_PROFILE_H

#include "ecolink/status.h"

enum { CLI_URL_MAX = 512, CLI_KEY_MAX = 256, CLI_PATH_MAX = 4096 };

typedef struct cli_profile {
  char url[CLI_URL_MAX];   // without a trailing slash
  char key[CLI_KEY_MAX];   // "": none
  const char *key_source;  // for messages: where the key came from
} cli_profile;

// ~/.config/ecolink/config, or below XDG_CONFIG_HOME.
ECO_CHECKED eco_status cli_profile_path(char out[CLI_PATH_MAX]);
// url_option: --url or NULL. A stored key is used only for the URL it was stored with: it must not leak to another
// host.
ECO_CHECKED eco_status cli_profile_load(const char *url_option, cli_profile *out);
// Mode 0600, replaced as a whole. An empty key stores the URL alone.
ECO_CHECKED eco_status cli_profile_store(const char *url, const char *key);
// Checks form, drops a trailing slash.
ECO_CHECKED eco_status cli_url_normalise(const char *url, char out[CLI_URL_MAX]);

#endif
