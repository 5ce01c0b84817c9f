"""The histograms of a closed window, packed until it is merged."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Mapping

import attrs

from orchestrator.load.histogram import Histogram

_LEVEL = 6
"""Takes a millisecond for each window, and a third less memory than the fastest level."""
_HIGHEST_SHORT = 0xFFFF


@attrs.frozen
class PackedHistograms:
    """Histograms in about a hundred bytes each: their counts are mostly zeros."""

    names: tuple[str, ...]
    spans: array[int]
    """Lowest bucket, number of buckets, lowest and highest value of each."""
    width: str
    """Type code of the counts: short until a count needs more."""
    counts: bytes

    @classmethod
    def of(cls, histograms: Mapping[str, Histogram]) -> PackedHistograms:
        """Pack them."""
        spans, counts = array("Q"), array("Q")
        for one in histograms.values():
            spans.extend((one.first, len(one.counts), one.min, one.max))
            counts += one.counts
        width = "H" if max(counts, default=0) <= _HIGHEST_SHORT else "Q"
        return cls(tuple(histograms), spans, width, zlib.compress(array(width, counts), _LEVEL))

    def unpacked(self) -> dict[str, Histogram]:
        """New histograms with the same counts."""
        counts, found, begin = array(self.width, zlib.decompress(self.counts)), dict[str, Histogram](), 0
        for place, name in enumerate(self.names):
            first, length, low, high = self.spans[4 * place : 4 * place + 4]
            mine = array("Q", counts[begin : begin + length])
            found[name] = Histogram(counts=mine, first=first, total=sum(mine), min=low, max=high)
            begin += length
        return found
