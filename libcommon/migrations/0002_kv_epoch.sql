-- Which life of this database the buckets show. A database that was restored from a backup has versions below those that readers
-- have seen: the relay then raises the epoch, which stands above every version of the lives before.
CREATE TABLE kv_epoch (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  epoch bigint NOT NULL CHECK (epoch BETWEEN 0 AND 500000)
);
INSERT INTO kv_epoch (epoch) VALUES (0);

DO $$
BEGIN
  EXECUTE format('GRANT SELECT, UPDATE ON kv_epoch TO %I', current_schema() || '_app');
END
$$;
