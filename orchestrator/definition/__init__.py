"""The definition of a workflow: states, transitions, and the checks when it is built."""
