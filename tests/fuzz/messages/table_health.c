// The health's table as its main.c has it; see tables.h.
#define main health_main_of_table
int health_main_of_table(int argc, char **argv);
#define eco_service_main fuzz_table_health
#include "../../../services/health/main.c"
#undef main
#include "tables.h"

const eco_service_def *table_health(void) {
  return table_capture(health_main_of_table, NULL);
}

int fuzz_table_health(const eco_service_def *def, int argc, char **argv) {
  (void)argc;
  (void)argv;
  return table_capture(NULL, def) != NULL ? 0 : 1;
}
