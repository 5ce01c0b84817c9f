"""Workflows that know PingOne, the client they use, and the sandbox they run on."""
