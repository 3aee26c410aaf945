// Names instead of ids: `ecolink launch my-llama` finds the model's id by listing.
#ifndef CLI_RESOLVE_H
#define CLI_RESOLVE_H

#include "app.h"

// The id of what `text` names (an id passes unchanged). NULL: told on standard error, *exit_code says what.
const char *cli_resolve(cli_app *app, cli_ref ref, const char *text, int *exit_code);

#endif
