"""What a run measures, and what it is judged by."""
