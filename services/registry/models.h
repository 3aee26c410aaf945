// What may be registered as a model, and what a catalogue entry may say: each source has its own fields. Pure; any
// thread.
#ifndef REGISTRY_MODELS_H
#define REGISTRY_MODELS_H

#include "ecolink/status.h"
#include "ecolink/v1/registry.pb-c.h"

#define REGISTRY_REVISION_DEFAULT "main"

// Everything that can be said without the database: INVALID_REQUEST with the field at fault. The path of a
// shared-filesystem model is judged later, against its filesystem (paths.h).
ECO_CHECKED eco_status registry_model_check(const Ecolink__V1__CreateModelRequest *request);
ECO_CHECKED eco_status registry_platform_model_check(const Ecolink__V1__PutPlatformModelRequest *request);
// The revision to use: "main" when none was given.
const char *registry_revision_or_default(const char *revision);

#endif
