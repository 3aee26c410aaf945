// SQL of the last lines that are kept of a replica.
#include "store.h"

static const char SQL_KEEP[] =
    "INSERT INTO kept_logs (instance_id, replica_id, lines) SELECT $1, $2, $3 WHERE EXISTS"
    " (SELECT 1 FROM instances WHERE id = $1)"
    " ON CONFLICT (instance_id, replica_id) DO UPDATE SET lines = excluded.lines";
static const char SQL_READ[] = "SELECT lines FROM kept_logs WHERE instance_id = $1 AND replica_id = $2";
static const char SQL_DROP[] = "DELETE FROM kept_logs WHERE instance_id = $1";

eco_status store_logs_keep(eco_tx *tx, int64_t instance_id, int replica_id, const char *lines) {
  return eco_tx_exec(tx, SQL_KEEP, NULL, ECO_PARAMS(eco_p_i64(instance_id), eco_p_i64(replica_id), eco_p_str(lines)));
}

eco_status store_logs_read(eco_tx *tx, eco_arena *arena, int64_t instance_id, int replica_id, const char **lines) {
  eco_rows *rows = NULL;
  ECO_TRY(eco_tx_exec(tx, SQL_READ, &rows, ECO_PARAMS(eco_p_i64(instance_id), eco_p_i64(replica_id))));
  *lines = eco_rows_count(rows) ? eco_strdup(arena, eco_row_str(rows, 0, 0)) : "";
  return eco_success();
}

eco_status store_logs_drop(eco_tx *tx, int64_t instance_id) {
  return eco_tx_exec(tx, SQL_DROP, NULL, ECO_PARAMS(eco_p_i64(instance_id)));
}
