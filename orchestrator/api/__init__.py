"""The embedding API: a run as an ``async with`` block in an asyncio program."""

from orchestrator.api.checks import check, check_shards
from orchestrator.api.continuing import cleanup, resume, retry
from orchestrator.api.run import AnyRun, Run
from orchestrator.api.starting import start

__all__ = ["AnyRun", "Run", "check", "check_shards", "cleanup", "resume", "retry", "start"]
