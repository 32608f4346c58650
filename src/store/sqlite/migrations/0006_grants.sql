-- Names what was written last, as nothing else ever is. 0: by a program of before, which knows nothing of it.
-- Most leave it as it is when they write again; what they write has a generation of its own.
ALTER TABLE connections ADD COLUMN grant_id INTEGER NOT NULL DEFAULT 0;
