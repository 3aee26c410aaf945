// Restricted Damerau-Levenshtein distance with three rows.
#include "ecolink/edit_distance.h"

#include <stdint.h>

static size_t least(size_t a, size_t b) {
  return a < b ? a : b;
}

size_t eco_edit_distance(const char *a, size_t na, const char *b, size_t nb) {
  size_t rows[3][ECO_EDIT_DISTANCE_MAX + 1];
  size_t *two_up = rows[0];
  size_t *up = rows[1];
  size_t *row = rows[2];
  if (na > ECO_EDIT_DISTANCE_MAX || nb > ECO_EDIT_DISTANCE_MAX) {
    return SIZE_MAX;
  }
  for (size_t j = 0; j <= nb; j++) {
    up[j] = j;
    two_up[j] = 0;
  }
  for (size_t i = 1; i <= na; i++) {
    row[0] = i;
    for (size_t j = 1; j <= nb; j++) {
      size_t best = up[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      best = least(best, least(up[j], row[j - 1]) + 1);
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        best = least(best, two_up[j - 2] + 1);
      }
      row[j] = best;
    }
    size_t *spare = two_up;
    two_up = up;
    up = row;
    row = spare;
  }
  return up[nb];
}
