"""Reads stored runs, and explains the status of a run and of its instances. Changes nothing."""
