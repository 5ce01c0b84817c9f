"""The web page: runs as they are stored, live in a browser, with controls where they work."""
