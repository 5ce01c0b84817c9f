"""The displays of a run in progress, for terminals and for other output."""
