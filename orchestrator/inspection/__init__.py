"""What a store knows of a run: where it and its instances stand, why, and what comes next. Changes nothing."""
