// One request, from bytes to bytes: envelope, deadline, rights, transaction, handler, idempotency. No socket in sight.
#ifndef ECOLINK_RPC_HANDLE_H
#define ECOLINK_RPC_HANDLE_H

#include "kit.h"

// Packed RpcReply in the arena. Never NULL: every failure is an answer.
uint8_t *rpc_handle(eco_service *svc, eco_arena *arena, const char *subject, const uint8_t *data, size_t len,
                    size_t *out_len);
// Whether the subject names a handler that makes calls of its own and may take as long as those (ECO_RPC_MANUAL).
bool rpc_is_saga(const eco_service_def *def, const char *subject);
uint8_t *rpc_pack_failure(eco_arena *arena, eco_status st, size_t *out_len);

#endif
