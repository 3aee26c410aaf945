-- How far the outbox has got, compared with what the buckets have seen: a restored database is behind.
DO $$
BEGIN
  EXECUTE format('GRANT SELECT ON SEQUENCE %s TO %I', pg_get_serial_sequence('outbox', 'seq'), current_schema() || '_app');
END
$$;
