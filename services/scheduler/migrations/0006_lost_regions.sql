-- An operator's word alone: what ran there is given up.
ALTER TABLE regions ADD COLUMN lost boolean NOT NULL DEFAULT false;
