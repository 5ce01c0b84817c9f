"""What an instance and a run go through: records and pure functions, without I/O."""
