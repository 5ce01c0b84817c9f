"""Moves instances forward: coordinator, shard driver, driver, attempts and admission."""
