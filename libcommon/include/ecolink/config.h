// Configuration by environment, as a table. Each service owns the prefix ECOLINK_<SERVICE>_.
//
// An unknown name under the own prefix is refused with the nearest match (Kubernetes' injected *_SERVICE_HOST, *_PORT
// and
// *_PORT_* of a Service that bears our name are let pass). Every secret has a `<NAME>_FILE` form. Loaded once, before
// threads; read-only afterwards.
#ifndef ECOLINK_CONFIG_H
#define ECOLINK_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "ecolink/status.h"

typedef enum eco_setting_kind {
  ECO_SET_STR,     // const char *
  ECO_SET_SECRET,  // const char *; never printed; NAME or NAME_FILE
  ECO_SET_I64,     // int64_t within [min, max]
  ECO_SET_BOOL,    // bool: true/false
  ECO_SET_CHOICE,  // const char *: one of the comma-separated words in `choices`
} eco_setting_kind;

typedef struct eco_setting {
  const char *name;  // without the prefix: "LISTEN"
  eco_setting_kind kind;
  void *target;          // where the value goes
  const char *fallback;  // default as text; NULL: required. "" for an optional string
  const char *help;      // one line: meaning, unit
  int64_t min, max;      // ECO_SET_I64
  const char *choices;   // ECO_SET_CHOICE
} eco_setting;
#define ECO_SETTING_END \
  { .name = NULL }

// Reads `environ` for ECOLINK_<SERVICE>_*; tables ends with NULL. Strings live until exit. Errors name the variable.
ECO_CHECKED eco_status eco_config_load(const char *service, const eco_setting *const *tables);
// A secret that was given by a file, as that file has it now; of every other setting nothing changes. Not while another
// thread reads or loads settings; an error leaves what was.
ECO_CHECKED eco_status eco_config_reread(const char *service, const eco_setting *set);
// Prints every setting with default and meaning.
void eco_config_help(FILE *out, const char *service, const eco_setting *const *tables);

#endif
