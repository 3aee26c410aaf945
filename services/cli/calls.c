// `ecolink __calls`: which calls the command table makes, as JSON. A test compares them with docs/api/openapi.yaml.
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "command.h"
#include "run.h"

static void put(const char *name, const char *field, const char **comma) {
  printf("%s\"", *comma);
  for (const char *c = field != NULL ? field : name; *c != '\0'; c++) {
    (void)putchar(*c == '-' ? '_' : *c);
  }
  printf("\"");
  *comma = ",";
}

static void put_fields(const cli_command *command, cli_place place) {
  const char *comma = "";
  for (const cli_positional *p = command->positionals; p != NULL && p->name != NULL; p++) {
    if (p->place == place) {
      put(p->name, p->field, &comma);
    }
  }
  for (const cli_option *o = command->options; o != NULL && o->name != NULL; o++) {
    // What the list commands page by is read by them, not by the table.
    const bool page = place == CLI_QUERY && (strcmp(o->name, "cursor") == 0 || strcmp(o->name, "limit") == 0);
    if (o->place == place || page) {
      put(o->name, o->field, &comma);
    }
  }
}

int cli_run_calls(struct cli_app *app) {
  (void)app;
  const char *comma = "";
  printf("{\"calls\":[");
  for (const cli_command *c = cli_commands; c->path != NULL; c++) {
    if (c->route == NULL) {
      continue;
    }
    printf("%s\n{\"command\":\"%s\",\"method\":\"%s\",\"route\":\"%s\",\"query\":[", comma, c->path, c->method,
           c->route);
    put_fields(c, CLI_QUERY);
    printf("],\"body\":[");
    put_fields(c, CLI_BODY);
    printf("],\"path\":[");
    put_fields(c, CLI_PATH);
    printf("]}");
    comma = ",";
  }
  printf("],\n\"codes\":[");
  for (size_t i = 0; cli_api_hint_code(i) != NULL; i++) {
    printf("%s\"%s\"", i > 0 ? "," : "", cli_api_hint_code(i));
  }
  printf("]}\n");
  return CLI_EXIT_OK;
}
