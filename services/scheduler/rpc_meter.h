// ReadMeter: evidence of uptime, for billing.
#ifndef SCHEDULER_RPC_METER_H
#define SCHEDULER_RPC_METER_H

#include "ecolink/service.h"

eco_status rpc_read_meter(eco_ctx *ctx, const void *request, void *reply);

#endif
