// libsodium, initialised once for the whole process, from whichever module needs it first. Internal to libcommon. Any
// thread.
#ifndef ECOLINK_SRC_SODIUM_ONCE_H
#define ECOLINK_SRC_SODIUM_ONCE_H

#include <sodium.h>

// Aborts when the system gives no randomness: nothing that follows could be trusted.
void eco_sodium_once(void);

#endif
