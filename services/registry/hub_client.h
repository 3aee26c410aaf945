// Asks the HuggingFace Hub whether a repository and revision exist. The only file of the registry that talks to the
// outside.
#ifndef REGISTRY_HUB_CLIENT_H
#define REGISTRY_HUB_CLIENT_H

#include <stdbool.h>

#include "ecolink/status.h"

// Once, before threads. The client is safe for any thread afterwards.
ECO_CHECKED eco_status registry_hub_init(void);
// GET <hub_url>/api/models/<repo>/revision/<revision> without credentials. Success when it exists or when nobody can
// tell (unreachable, slow, an answer that says neither); INVALID_REQUEST with param `repo` or `revision` when it does
// not exist. `repo` and `revision` have passed the form checks. Blocks for at most timeout_ms: never call it inside a
// transaction.
ECO_CHECKED eco_status registry_hub_check(const char *hub_url, long timeout_ms, const char *repo, const char *revision,
                                          bool has_token);

#endif
