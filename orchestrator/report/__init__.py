"""Reports: what a run has come to, as data and in the forms in which people and programs read it."""
