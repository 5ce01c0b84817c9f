"""The contract of a store, on every back end."""
