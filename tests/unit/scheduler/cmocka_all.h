// cmocka with what it needs before it.
#ifndef SCHEDULER_TEST_CMOCKA_ALL_H
#define SCHEDULER_TEST_CMOCKA_ALL_H

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#endif
