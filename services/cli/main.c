// The `ecolink` program.
#include "app.h"

int main(int argc, char **argv) {
  return cli_main(argc, argv);
}
