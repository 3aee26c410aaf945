// The registry's table as its main.c has it; see tables.h.
#define main registry_main_of_table
int registry_main_of_table(int argc, char **argv);
#define eco_service_main fuzz_table_registry
#include "../../../services/registry/main.c"
#undef main
#include "tables.h"

const eco_service_def *table_registry(void) {
  return table_capture(registry_main_of_table, NULL);
}

int fuzz_table_registry(const eco_service_def *def, int argc, char **argv) {
  (void)argc;
  (void)argv;
  return table_capture(NULL, def) != NULL ? 0 : 1;
}
