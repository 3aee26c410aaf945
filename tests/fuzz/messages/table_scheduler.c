// The scheduler's table as its main.c has it; see tables.h.
#define main scheduler_main_of_table
int scheduler_main_of_table(int argc, char **argv);
#define eco_service_main fuzz_table_scheduler
#include "../../../services/scheduler/main.c"
#undef main
#include "tables.h"

const eco_service_def *table_scheduler(void) {
  return table_capture(scheduler_main_of_table, NULL);
}

int fuzz_table_scheduler(const eco_service_def *def, int argc, char **argv) {
  (void)argc;
  (void)argv;
  return table_capture(NULL, def) != NULL ? 0 : 1;
}
