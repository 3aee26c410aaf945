// The registry's SQL: every statement of the service stands in store_<noun>.c. Called from handlers inside their
// transaction.
//
// Everything returned lives in the arena. A lookup that finds nothing succeeds with *out == NULL. Functions named
// *_lock take the row FOR UPDATE; lock order: account, then member, filesystem, model, key.
#ifndef REGISTRY_STORE_H
#define REGISTRY_STORE_H

#include "ecolink/service.h"
#include "ecolink/v1/registry.pb-c.h"
#include "keys.h"
#include "pages.h"

// What a caller names: statements about it carry both.
typedef struct registry_owned {
  const char *account_id;
  const char *id;
} registry_owned;

// ---- accounts ----
typedef struct registry_accounts {
  Ecolink__V1__Account **data;
  int64_t *versions;
  size_t n;
} registry_accounts;
ECO_CHECKED eco_status registry_account_insert(eco_tx *tx, const Ecolink__V1__Account *account);
// Serialises what must be counted or compared per account. NOT_FOUND when there is none.
ECO_CHECKED eco_status registry_account_lock(eco_tx *tx, const char *account_id);
ECO_CHECKED eco_status registry_account_find(eco_tx *tx, eco_arena *arena, const char *id, Ecolink__V1__Account **out);
ECO_CHECKED eco_status registry_account_list(eco_tx *tx, eco_arena *arena, const registry_page *page,
                                             registry_accounts *out);
ECO_CHECKED eco_status registry_account_after(eco_tx *tx, eco_arena *arena, const char *after_id, int limit,
                                              registry_accounts *out);

// ---- operators ----
typedef struct registry_operators {
  Ecolink__V1__Operator **data;
  size_t n;
} registry_operators;
// *taken: the name exists already, and nothing was inserted.
ECO_CHECKED eco_status registry_operator_insert(eco_tx *tx, const Ecolink__V1__Operator *op, bool *taken);
ECO_CHECKED eco_status registry_operator_ensure(eco_tx *tx, const char *id, const char *name, int64_t now_us);
ECO_CHECKED eco_status registry_operator_lock(eco_tx *tx, const char *id);
// How many there are beside `id`.
ECO_CHECKED eco_status registry_operator_count_others(eco_tx *tx, const char *id, int64_t *out);
ECO_CHECKED eco_status registry_operator_list(eco_tx *tx, eco_arena *arena, const registry_page *page,
                                              registry_operators *out);

// ---- members ----
typedef struct registry_members {
  Ecolink__V1__Member **data;
  size_t n;
} registry_members;
ECO_CHECKED eco_status registry_member_insert(eco_tx *tx, const Ecolink__V1__Member *member, bool *taken);
ECO_CHECKED eco_status registry_member_find(eco_tx *tx, eco_arena *arena, const char *account_id, const char *id,
                                            Ecolink__V1__Member **out);
ECO_CHECKED eco_status registry_member_email_exists(eco_tx *tx, const char *account_id, const char *email, bool *out);
ECO_CHECKED eco_status registry_member_count(eco_tx *tx, const char *account_id, int64_t *members, int64_t *owners);
ECO_CHECKED eco_status registry_member_delete(eco_tx *tx, const registry_owned *what, int64_t now_us);
ECO_CHECKED eco_status registry_member_list(eco_tx *tx, eco_arena *arena, const char *account_id,
                                            const registry_page *page, registry_members *out);

// ---- invites ----
ECO_CHECKED eco_status registry_invite_insert(eco_tx *tx, const Ecolink__V1__Invite *invite, const char *token_hash);
// Ends what was offered to this mailbox before, and everything of the account that has expired unaccepted.
ECO_CHECKED eco_status registry_invite_supersede(eco_tx *tx, const char *account_id, const char *email, int64_t now_us);
ECO_CHECKED eco_status registry_invite_count(eco_tx *tx, const char *account_id, int64_t *out);
ECO_CHECKED eco_status registry_invite_find(eco_tx *tx, eco_arena *arena, const char *token_hash, bool lock,
                                            Ecolink__V1__Invite **out);
ECO_CHECKED eco_status registry_invite_accept(eco_tx *tx, const char *id, int64_t now_us);

// ---- keys ----
typedef struct registry_keys {
  registry_key *data;
  size_t n;
} registry_keys;
// *taken: a key with this hash exists already.
ECO_CHECKED eco_status registry_key_insert(eco_tx *tx, const registry_key *key, bool *taken);
ECO_CHECKED eco_status registry_key_find(eco_tx *tx, eco_arena *arena, const char *account_id, const char *id,
                                         bool lock, registry_key **out);
ECO_CHECKED eco_status registry_key_find_hash(eco_tx *tx, eco_arena *arena, const char *sha256_hex, registry_key **out);
ECO_CHECKED eco_status registry_key_count(eco_tx *tx, const char *account_id, int64_t *out);
ECO_CHECKED eco_status registry_key_list(eco_tx *tx, eco_arena *arena, const char *account_id,
                                         const registry_page *page, registry_keys *out);
// Sets revoked_at and the next version in the row and in *key.
ECO_CHECKED eco_status registry_key_revoke(eco_tx *tx, registry_key *key, int64_t now_us);
// Live keys of a member or of an operator, locked in the order of their ids.
ECO_CHECKED eco_status registry_key_of_member_lock(eco_tx *tx, eco_arena *arena, const char *member_id,
                                                   registry_keys *out);
ECO_CHECKED eco_status registry_key_of_operator_lock(eco_tx *tx, eco_arena *arena, const char *operator_id,
                                                     registry_keys *out);
ECO_CHECKED eco_status registry_key_after(eco_tx *tx, eco_arena *arena, const char *after_id, int limit,
                                          registry_keys *out);
// Parallel arrays; a time that is not later than the one stored writes nothing.
ECO_CHECKED eco_status registry_key_touch(eco_tx *tx, eco_arena *arena, const char *const *key_ids,
                                          const int64_t *used_at_us, size_t n);

// ---- filesystems ----
typedef struct registry_filesystems {
  Ecolink__V1__Filesystem **data;
  size_t n;
} registry_filesystems;
ECO_CHECKED eco_status registry_filesystem_insert(eco_tx *tx, const Ecolink__V1__Filesystem *fs, bool *taken);
typedef enum registry_lock { REGISTRY_LOCK_NONE, REGISTRY_LOCK_SHARE, REGISTRY_LOCK_UPDATE } registry_lock;
// Live ones of the account alone.
ECO_CHECKED eco_status registry_filesystem_find(eco_tx *tx, eco_arena *arena, const char *account_id, const char *id,
                                                registry_lock lock, Ecolink__V1__Filesystem **out);
ECO_CHECKED eco_status registry_filesystem_count(eco_tx *tx, const char *account_id, int64_t *out);
ECO_CHECKED eco_status registry_filesystem_list(eco_tx *tx, eco_arena *arena, const char *account_id,
                                                const registry_page *page, registry_filesystems *out);
ECO_CHECKED eco_status registry_filesystem_used(eco_tx *tx, const char *id, int64_t *models, int64_t *instances);
ECO_CHECKED eco_status registry_filesystem_delete(eco_tx *tx, const registry_owned *what, int64_t now_us);

// ---- models ----
typedef struct registry_models {
  Ecolink__V1__Model **data;
  int64_t *versions;
  size_t n;
} registry_models;
ECO_CHECKED eco_status registry_model_insert(eco_tx *tx, const Ecolink__V1__Model *model, bool *taken);
// A live one of the account, NULL when it has none of this id; *foreign then tells whether another account has. With
// its sealed token only when asked; live_instances counted.
ECO_CHECKED eco_status registry_model_find(eco_tx *tx, eco_arena *arena, const registry_owned *what, registry_lock lock,
                                           bool with_token, Ecolink__V1__Model **out, bool *foreign);
ECO_CHECKED eco_status registry_model_count(eco_tx *tx, const char *account_id, int64_t *out);
ECO_CHECKED eco_status registry_model_list(eco_tx *tx, eco_arena *arena, const char *account_id,
                                           const registry_page *page, registry_models *out);
// Forgets the sealed token as well. *version: the row's new one.
ECO_CHECKED eco_status registry_model_delete(eco_tx *tx, const registry_owned *what, int64_t now_us, int64_t *version);
ECO_CHECKED eco_status registry_model_after(eco_tx *tx, eco_arena *arena, const char *after_id, int limit,
                                            registry_models *out);

// ---- pins ----
ECO_CHECKED eco_status registry_pin_insert(eco_tx *tx, int64_t instance_id, const char *target_id, int64_t now_us);
ECO_CHECKED eco_status registry_pin_release(eco_tx *tx, int64_t instance_id, int64_t *released);
// Counted with a snapshot of its own: after the target's row was locked, it sees every pin that the lock waited for.
ECO_CHECKED eco_status registry_pin_count(eco_tx *tx, const char *target_id, int64_t *out);
// Up to `limit` instances above after_id whose newest pin is older than before_us, ascending.
ECO_CHECKED eco_status registry_pin_instances(eco_tx *tx, eco_arena *arena, int64_t after_id, int64_t before_us,
                                              int limit, int64_t **out, size_t *n);

// ---- platform catalogue ----
typedef struct registry_platform_models {
  Ecolink__V1__PlatformModel **data;
  size_t n;
} registry_platform_models;
// created_at of an entry that exists stays; *out is the entry as stored.
ECO_CHECKED eco_status registry_platform_put(eco_tx *tx, eco_arena *arena, const Ecolink__V1__PlatformModel *entry,
                                             Ecolink__V1__PlatformModel **out);
ECO_CHECKED eco_status registry_platform_find(eco_tx *tx, eco_arena *arena, const char *name,
                                              Ecolink__V1__PlatformModel **out);
ECO_CHECKED eco_status registry_platform_delete(eco_tx *tx, const char *name);
ECO_CHECKED eco_status registry_platform_list(eco_tx *tx, eco_arena *arena, const registry_page *page,
                                              registry_platform_models *out);

#endif
