// The argument parser: from argv to a command of the table with its checked values. Pure but for nothing: no I/O, no
// exit; what is wrong comes back as a message that says what to do.
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stdint.h>

#include "command.h"
#include "ecolink/status.h"

enum { CLI_GIVEN_MAX = 256 };  // options on one command line

typedef struct cli_given {
  const cli_option *option;
  const char *text;  // NULL for flags; borrowed from argv
} cli_given;

typedef struct cli_args {
  const cli_command *command;  // NULL: none was named (help for the whole program)
  bool help;                   // --help, -h, or a group without one of its commands
  cli_given given[CLI_GIVEN_MAX];
  size_t given_count;
  const char *positionals[CLI_POSITIONALS_MAX];  // NULL: left out, before one that is filled from behind "--"
  size_t positional_count;
} cli_args;

// argv without the program's name; strings are borrowed. Failures are INVALID_REQUEST; out->command is then the command
// reached so far, for "see … --help".
ECO_CHECKED eco_status cli_args_parse(int argc, char *const *argv, cli_args *out);

// The value's form, by kind: what the parser applies to each value.
ECO_CHECKED eco_status cli_value_check(cli_kind kind, const char *name, const char *text);
// A span such as 45s, 10m, 12h, 30d, 2w in seconds; false when it is none.
bool cli_span_parse(const char *text, int64_t *seconds);

bool cli_args_has(const cli_args *args, const char *option);
const char *cli_args_text(const cli_args *args, const char *option);  // the last one given; NULL: not given
int64_t cli_args_int(const cli_args *args, const char *option, int64_t fallback);
const char *cli_args_positional(const cli_args *args, const char *name);  // NULL: not given

#endif
