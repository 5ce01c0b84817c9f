"""What a store says of a run."""
