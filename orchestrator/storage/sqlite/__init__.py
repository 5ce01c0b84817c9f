"""The SQLite store: one file, WAL, ``synchronous=FULL``, group commit off the event loop."""
