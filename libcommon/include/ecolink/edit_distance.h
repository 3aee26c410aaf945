// How far two names are from each other: for "did you mean". Pure, any thread.
#ifndef ECOLINK_EDIT_DISTANCE_H
#define ECOLINK_EDIT_DISTANCE_H

#include <stddef.h>

enum { ECO_EDIT_DISTANCE_MAX = 128 };  // longest name that is compared

// Insertions, deletions, replacements and swaps of neighbours that turn a into b; SIZE_MAX when either is longer than
// ECO_EDIT_DISTANCE_MAX. Neither needs to end with NUL.
size_t eco_edit_distance(const char *a, size_t na, const char *b, size_t nb);

#endif
