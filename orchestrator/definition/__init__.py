"""What a workflow is: its states, its transitions, and the checks when it is built."""
