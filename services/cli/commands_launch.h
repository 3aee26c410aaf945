// The many options of a launch.
#ifndef CLI_COMMANDS_LAUNCH_H
#define CLI_COMMANDS_LAUNCH_H

#include "command.h"

extern const cli_positional cli_launch_positionals[];
extern const cli_option cli_launch_options[];

#endif
