// The request body, from the options and arguments whose place is the body.
#ifndef CLI_BODY_H
#define CLI_BODY_H

#include "app.h"

// NULL: told on standard error, *exit_code says what. Freed by the caller (yyjson_mut_doc_free).
yyjson_mut_doc *cli_body_build(cli_app *app, int *exit_code);
// The value of a CLI_SECRET option: a file's content without its last line end, "-" reads standard input. In the arena.
ECO_CHECKED eco_status cli_read_secret(eco_arena *arena, const char *path, const char **out);
const char *cli_option_field(eco_arena *arena, const cli_option *option);

#endif
