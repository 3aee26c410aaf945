// The services' own tables for the fuzzer: each table_<service>.c compiles that service's main.c, with its main() and
// its call of the kit renamed, so that a new handler or consumer is fuzzed without an edit here.
#ifndef FUZZ_TABLES_H
#define FUZZ_TABLES_H

#include "ecolink/service.h"

const eco_service_def *table_registry(void);
const eco_service_def *table_scheduler(void);
const eco_service_def *table_billing(void);
const eco_service_def *table_health(void);

// Runs a renamed main(), which calls back with the table it would hand to the kit; returns that table.
const eco_service_def *table_capture(int (*service_main)(int, char **), const eco_service_def *def);

#endif
