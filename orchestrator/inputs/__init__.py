"""Input of instances: rows are read, checked against the workflow's row class, stored sealed with the run, and read back."""
