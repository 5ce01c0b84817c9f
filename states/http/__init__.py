"""HTTP for any workflow: one session, its transport, and a masked record of each exchange. It knows no vendor."""
