-- The last lines of a replica whose own log goes with it (a pod's): kept when it is removed, until its leavings are dropped.
CREATE TABLE kept_logs (
  instance_id bigint NOT NULL REFERENCES instances (id),
  replica_id int NOT NULL,
  lines text NOT NULL,
  PRIMARY KEY (instance_id, replica_id)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON kept_logs TO scheduler_app;
