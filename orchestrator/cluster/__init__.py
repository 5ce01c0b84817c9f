"""Spreads a run over worker processes, on one machine or on many."""
