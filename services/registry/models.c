// Rules for models by source; the contract is in models.h.
#include "models.h"

#include "names.h"
#include "registry_limits.h"
#include "repos.h"

const char *registry_revision_or_default(const char *revision) {
  return revision[0] != '\0' ? revision : REGISTRY_REVISION_DEFAULT;
}

static eco_status check_name(const char *name) {
  if (!registry_name_valid(name)) {
    return eco_error_param(
        ECO_INVALID_REQUEST, "name",
        "a name begins with a letter or digit and holds up to %d letters, digits, '.', '_', '/' and '-'",
        REGISTRY_NAME_MAX);
  }
  return eco_success();
}

static eco_status check_category(Ecolink__V1__ModelCategory category) {
  if (category < ECOLINK__V1__MODEL_CATEGORY__MODEL_CATEGORY_CHAT ||
      category > ECOLINK__V1__MODEL_CATEGORY__MODEL_CATEGORY_VIDEO) {
    return eco_error_param(ECO_INVALID_REQUEST, "category", "must be chat, embedding, reranker, image, audio or video");
  }
  return eco_success();
}

static eco_status check_repo(const char *repo, const char *revision) {
  if (!registry_repo_valid(repo)) {
    return eco_error_param(ECO_INVALID_REQUEST, "repo", "a HuggingFace repository has the form org/name");
  }
  if (!registry_revision_valid(registry_revision_or_default(revision))) {
    return eco_error_param(ECO_INVALID_REQUEST, "revision", "must be the name of a branch or tag, or a commit");
  }
  return eco_success();
}

static eco_status refuse(const char *field, bool given, const char *source) {
  if (given) {
    return eco_error_param(ECO_INVALID_REQUEST, field, "does not go with source %s: leave it out", source);
  }
  return eco_success();
}

static eco_status check_huggingface(const Ecolink__V1__CreateModelRequest *r) {
  ECO_TRY(refuse("filesystem_id", r->filesystem_id[0] != '\0', "huggingface"));
  ECO_TRY(refuse("path", r->path[0] != '\0', "huggingface"));
  if (r->hf_token != NULL && (r->hf_token->box.len == 0 || r->hf_token->box.len > REGISTRY_SEALED_MAX)) {
    return eco_error_param(ECO_INVALID_REQUEST, "hf_token", "is empty or too long to be a HuggingFace token");
  }
  return check_repo(r->repo, r->revision);
}

static eco_status refuse_huggingface_fields(const Ecolink__V1__CreateModelRequest *r, const char *source) {
  ECO_TRY(refuse("repo", r->repo[0] != '\0', source));
  ECO_TRY(refuse("revision", r->revision[0] != '\0', source));
  return refuse("hf_token", r->hf_token != NULL, source);
}

static eco_status check_shared_filesystem(const Ecolink__V1__CreateModelRequest *r) {
  ECO_TRY(refuse_huggingface_fields(r, "shared_filesystem"));
  if (r->filesystem_id[0] == '\0') {
    return eco_error_param(ECO_INVALID_REQUEST, "filesystem_id", "is needed: register one at /filesystems first");
  }
  if (r->path[0] == '\0') {
    return eco_error_param(ECO_INVALID_REQUEST, "path",
                           "is needed: the directory that holds config.json and the weights");
  }
  return eco_success();
}

static eco_status check_container(const Ecolink__V1__CreateModelRequest *r) {
  ECO_TRY(refuse_huggingface_fields(r, "container"));
  ECO_TRY(refuse("filesystem_id", r->filesystem_id[0] != '\0', "container"));
  return refuse("path", r->path[0] != '\0', "container");
}

eco_status registry_model_check(const Ecolink__V1__CreateModelRequest *request) {
  ECO_TRY(check_name(request->name));
  ECO_TRY(check_category(request->category));
  switch (request->source) {
    case ECOLINK__V1__MODEL_SOURCE__MODEL_SOURCE_HUGGINGFACE:
      return check_huggingface(request);
    case ECOLINK__V1__MODEL_SOURCE__MODEL_SOURCE_SHARED_FILESYSTEM:
      return check_shared_filesystem(request);
    case ECOLINK__V1__MODEL_SOURCE__MODEL_SOURCE_CONTAINER:
      return check_container(request);
    default:
      return eco_error_param(ECO_INVALID_REQUEST, "source", "must be huggingface, shared_filesystem or container");
  }
}

eco_status registry_platform_model_check(const Ecolink__V1__PutPlatformModelRequest *request) {
  ECO_TRY(check_name(request->name));
  ECO_TRY(check_category(request->category));
  if (!registry_text_valid(request->description, REGISTRY_DESCRIPTION_MAX)) {
    return eco_error_param(ECO_INVALID_REQUEST, "description", "at most %d bytes of printable text",
                           REGISTRY_DESCRIPTION_MAX);
  }
  return check_repo(request->repo, request->revision);
}
