// What db.c (pool), db_tx.c (transactions, rows) and db_migrate.c share.
#ifndef ECOLINK_DB_INTERNAL_H
#define ECOLINK_DB_INTERNAL_H

#include <libpq-fe.h>

#include "ecolink/db.h"

// Opens a session with our search_path and timeouts. The caller owns the connection.
ECO_CHECKED eco_status db_connect(const char *url, const char *schema, PGconn **out);
// Gives a slot back to the pool; a broken connection is closed first.
void db_slot_return(eco_db *db, int slot, bool broken);
// NULL when out of memory. The connection stays the pool's.
eco_tx *tx_new(eco_db *db, int slot, PGconn *conn);
// Maps a failed result to a status by SQLSTATE.
eco_status db_result_error(PGconn *conn, const PGresult *res);

#endif
