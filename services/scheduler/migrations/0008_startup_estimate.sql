-- How long instances of the same model and image took to start, when this one was launched; 0: none has started yet.
ALTER TABLE instances ADD COLUMN startup_estimate_s int NOT NULL DEFAULT 0;
