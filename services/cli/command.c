// Looking things up in the command table.
#include "command.h"

#include <string.h>

const cli_command *cli_command_find(const char *path) {
  for (const cli_command *c = cli_commands; c->path != NULL; c++) {
    if (strcmp(c->path, path) == 0) {
      return c;
    }
  }
  return NULL;
}

bool cli_command_is_child(const cli_command *command, const char *group) {
  size_t len = strlen(group);
  const char *rest = command->path;
  if (len > 0) {
    if (strncmp(rest, group, len) != 0 || rest[len] != ' ') {
      return false;
    }
    rest += len + 1;
  }
  return strchr(rest, ' ') == NULL;
}

const char *cli_command_word(const cli_command *command) {
  const char *space = strrchr(command->path, ' ');
  return space != NULL ? space + 1 : command->path;
}

static const cli_option *find_in(const cli_option *options, const char *name, size_t len, char letter) {
  for (const cli_option *o = options; o != NULL && o->name != NULL; o++) {
    bool match = name != NULL ? strlen(o->name) == len && memcmp(o->name, name, len) == 0 : o->letter == letter;
    if (match) {
      return o;
    }
  }
  return NULL;
}

const cli_option *cli_option_find(const cli_command *command, const char *name, size_t len) {
  const cli_option *own = command != NULL ? find_in(command->options, name, len, '\0') : NULL;
  return own != NULL ? own : find_in(cli_global_options, name, len, '\0');
}

const cli_option *cli_option_find_letter(const cli_command *command, char letter) {
  if (letter == '\0') {
    return NULL;
  }
  const cli_option *own = command != NULL ? find_in(command->options, NULL, 0, letter) : NULL;
  return own != NULL ? own : find_in(cli_global_options, NULL, 0, letter);
}

bool cli_option_takes_value(const cli_option *option) {
  return option->kind != CLI_FLAG && option->kind != CLI_NOT;
}

bool cli_option_repeats(const cli_option *option) {
  return option->kind == CLI_LIST || option->kind == CLI_WORDS || option->kind == CLI_MAP || option->kind == CLI_ROOM;
}
