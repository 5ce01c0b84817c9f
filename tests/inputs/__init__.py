"""Tests of the input of instances."""
