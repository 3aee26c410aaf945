// Help texts and the manual page, made from the command table. Pure.
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include "command.h"
#include "ecolink/buf.h"

enum { CLI_HELP_MAX = 256 * 1024 };

// NULL: the program's overview. A group lists its commands.
bool cli_help_write(const cli_command *command, bool colour, eco_buf *out);
// The manual page in man(7) macros; services/cli/ecolink.1 is this.
bool cli_man_write(eco_buf *out);
// "models create <name> [options]", without the program's name.
bool cli_usage_write(const cli_command *command, eco_buf *out);

#endif
