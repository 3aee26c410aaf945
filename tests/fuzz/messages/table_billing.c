// The billing's table as its main.c has it; see tables.h.
#define main billing_main_of_table
int billing_main_of_table(int argc, char **argv);
#define eco_service_main fuzz_table_billing
#include "../../../services/billing/main.c"
#undef main
#include "tables.h"

const eco_service_def *table_billing(void) {
  return table_capture(billing_main_of_table, NULL);
}

int fuzz_table_billing(const eco_service_def *def, int argc, char **argv) {
  (void)argc;
  (void)argv;
  return table_capture(NULL, def) != NULL ? 0 : 1;
}
