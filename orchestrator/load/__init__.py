"""Measurements of a run, and the thresholds that judge them."""
