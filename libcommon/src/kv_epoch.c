// The epoch of a service's buckets; see kv_epoch.h.
#include "kv_epoch.h"

#include "ecolink/crash.h"

static const char SQL_READ[] =
    "SELECT epoch, coalesce(pg_sequence_last_value(pg_get_serial_sequence('outbox', 'seq')::regclass), 0) FROM "
    "kv_epoch";
static const char SQL_RAISE[] = "UPDATE kv_epoch SET epoch = $1 WHERE epoch < $1";

eco_status kv_epoch_read(eco_tx *tx, kv_mark *out) {
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(tx, SQL_READ, &rows, ECO_NO_PARAMS));
  if (eco_rows_count(rows) != 1) {
    return eco_error(ECO_INTERNAL, "table kv_epoch has %zu rows", eco_rows_count(rows));
  }
  *out = (kv_mark){.epoch = eco_row_i64(rows, 0, 0), .outbox_seq = eco_row_i64(rows, 0, 1)};
  return eco_success();
}

eco_status kv_epoch_raise(eco_service *svc, int64_t lease_epoch, int64_t epoch) {
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(svc->db, &tx));
  eco_status st = eco_lease_check(tx, KIT_RELAY_LEASE, lease_epoch);
  if (eco_ok(st)) {
    st = eco_tx_exec(tx, SQL_RAISE, NULL, ECO_PARAMS(eco_p_i64(epoch)));
  }
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return st;
  }
  ECO_TRY(eco_tx_commit(tx));
  ECO_CRASH_POINT("kit.kv_repair.epoch_raised");
  return eco_success();
}
