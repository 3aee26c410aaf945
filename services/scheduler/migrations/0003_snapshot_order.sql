-- The order in which snapshots are paged: without it each page sorts everything that ever was.
CREATE INDEX instances_id_c ON instances ((id::text) COLLATE "C");
CREATE INDEX replicas_id_c ON replicas ((instance_id::text || '-' || id::text) COLLATE "C");
