"""Spreads a run over worker processes, on one machine or on many."""

from __future__ import annotations

from importlib.util import find_spec
from os import PathLike, fspath
from typing import TYPE_CHECKING

from orchestrator.errors import SettingError

if TYPE_CHECKING:
    from distributed import Client

    from orchestrator.cluster.pool import OpenPool


def dask_cluster(address: str | Client, *, tls: str | PathLike[str] | None = None) -> OpenPool:
    """The workers of a Dask cluster, for the argument ``cluster`` of :func:`orchestrator.start`.

    Args:
        address: ``tls://HOST:PORT`` of the scheduler, the path of its scheduler file, or an asynchronous client of Dask that is
            connected to it.
        tls: Folder with the certificates that ``orchestrator cluster certs`` made; not for a client.

    Raises:
        SettingError: The address is not encrypted and not on this machine, or a file cannot be read, or Dask is not installed.
    """
    if find_spec("distributed") is None:
        raise SettingError("cluster", "needs Dask: pip install 'token-fulfillment-orchestrator[dask]'")
    from orchestrator.cluster.address import parse_cluster  # noqa: PLC0415  # imports Dask
    from orchestrator.cluster.dask_pool import pool_of, remote_pool  # noqa: PLC0415  # imports Dask

    if not isinstance(address, str):
        return pool_of(address)
    return remote_pool(parse_cluster(address, None if tls is None else fspath(tls)))
