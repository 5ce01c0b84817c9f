"""The PostgreSQL store: one schema, fenced batches in one statement each, and reconnection. Needs the extra ``postgresql``."""
