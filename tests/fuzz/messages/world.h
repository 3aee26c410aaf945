// What the handlers meet while they are fuzzed: a database and neighbours whose answers come from a seed of the input.
// Rows are sane (a database holds what we wrote); how many there are, what fails and what a neighbour says is not.
#ifndef FUZZ_WORLD_H
#define FUZZ_WORLD_H

#include <stddef.h>
#include <stdint.h>

void world_begin(uint64_t seed);
// Aborts when a transaction was left open, ended twice or used after its end.
void world_end(void);

#endif
