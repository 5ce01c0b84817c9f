"""The life of an instance and of a run: records and pure functions, without I/O."""
