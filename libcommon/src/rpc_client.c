// Blocking RPC calls between services.
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "kit.h"

static eco_status read_reply(eco_ctx *ctx, const char *method, natsMsg *msg, const ProtobufCMessageDescriptor *type,
                             void *out) {
  Ecolink__V1__RpcReply *reply = ecolink__v1__rpc_reply__unpack(
      eco_arena_pb(ctx->arena), (size_t)natsMsg_GetDataLength(msg), (const uint8_t *)natsMsg_GetData(msg));
  if (reply == NULL) {
    return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "%s answered what cannot be read", method);
  }
  if (reply->status != NULL && reply->status->code[0] != '\0') {
    return eco_error_param(eco_code_from_word(reply->status->code), reply->status->param, "%s", reply->status->message);
  }
  ProtobufCMessage *body = protobuf_c_message_unpack(type, eco_arena_pb(ctx->arena), reply->body.len, reply->body.data);
  if (body == NULL) {
    return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "%s answered a message that is no %s", method, type->name);
  }
  *(ProtobufCMessage **)out = body;
  return eco_success();
}

eco_status eco_rpc_call(eco_ctx *ctx, const char *method, const ProtobufCMessage *request,
                        const ProtobufCMessageDescriptor *reply_type, int timeout_ms, void *reply_out_ptr) {
  Ecolink__V1__RequestContext context = ECOLINK__V1__REQUEST_CONTEXT__INIT;
  Ecolink__V1__RpcRequest envelope = ECOLINK__V1__RPC_REQUEST__INIT;
  context.request_id = eco_strdup(ctx->arena, ctx->request_id);
  context.trace_id = eco_strdup(ctx->arena, ctx->trace_id);
  context.deadline_us = eco_wall_us() + (int64_t)timeout_ms * 1000;
  envelope.context = &context;
  envelope.body.len = protobuf_c_message_get_packed_size(request);
  envelope.body.data = eco_alloc(ctx->arena, envelope.body.len + 1);
  protobuf_c_message_pack(request, envelope.body.data);
  size_t n = ecolink__v1__rpc_request__get_packed_size(&envelope);
  uint8_t *packed = eco_alloc(ctx->arena, n + 1);
  ecolink__v1__rpc_request__pack(&envelope, packed);

  char subject[KIT_SUBJECT_MAX];
  snprintf(subject, sizeof subject, "ecolink.rpc.%s", method);
  natsMsg *msg = NULL;
  natsStatus s = natsConnection_Request(&msg, ctx->service->nc, subject, packed, (int)n, timeout_ms);
  ECO_CRASH_POINT("kit.rpc.called");
  if (s == NATS_NO_RESPONDERS) {
    return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "%s: nobody answers: is the service running?", method);
  }
  if (s != NATS_OK) {
    return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "%s: %s", method, natsStatus_GetText(s));
  }
  eco_status st = read_reply(ctx, method, msg, reply_type, reply_out_ptr);
  natsMsg_Destroy(msg);
  return st;
}
