-- What a replica's engine asks of its callers: gateways and probes alone have it. Empty: it asks for none.
ALTER TABLE replicas ADD COLUMN token text NOT NULL DEFAULT '';
