// Replays kept corpora without libFuzzer: every file of the named folders once through the target. A plain program of
// any compiler and sanitizer, so that `make test` replays what fuzzing has found before.
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay(const char *path) {
  FILE *f = fopen(path, "re");
  if (f == NULL || fseek(f, 0, SEEK_END) != 0) {
    perror(path);
    exit(1);
  }
  const size_t size = (size_t)ftell(f);
  rewind(f);
  uint8_t *data = malloc(size > 0 ? size : 1);
  if (data == NULL || fread(data, 1, size, f) != size) {
    perror(path);
    exit(1);
  }
  (void)fclose(f);
  (void)LLVMFuzzerTestOneInput(data, size);
  free(data);
}

int main(int argc, char **argv) {
  int files = 0;
  for (int i = 1; i < argc; i++) {
    struct dirent **names = NULL;
    const int n = scandir(argv[i], &names, NULL, alphasort);
    for (int k = 0; k < n; k++) {
      char path[4096];
      (void)snprintf(path, sizeof path, "%s/%s", argv[i], names[k]->d_name);
      if (names[k]->d_name[0] != '.') {
        replay(path);
        files++;
      }
      free(names[k]);
    }
    free(names);
  }
  printf("%d inputs replayed\n", files);
  return files > 0 ? 0 : 1;
}
