// The gateway process: start, stop, readiness; what main.c's table names.
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include "ecolink/service.h"

eco_status gw_process_start(eco_service *svc);
void gw_process_stop(eco_service *svc);  // drains: stops accepting, lets requests in flight end, sends what is metered
bool gw_process_ready(eco_service *svc, eco_buf *why);

#endif
