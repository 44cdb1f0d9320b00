"""The diagrams of the documentation, and what draws them."""

from __future__ import annotations

import hashlib

from tests.architecture.sources import ROOT

DIAGRAMS = ROOT / "docs" / "diagrams"


def test_diagrams_are_those_of_their_sources() -> None:
    """Each SVG in docs/diagrams carries the checksum of the .dot beside it: after a change, run `make docs`."""
    sources = sorted(DIAGRAMS.glob("*.dot"))
    drawn = {path.stem: path.read_text("utf-8") for path in DIAGRAMS.glob("*.svg")}
    assert sources
    assert sorted(drawn) == [source.stem for source in sources]
    old = [
        source.name
        for source in sources
        if f"SHA-256 {hashlib.sha256(source.read_bytes()).hexdigest()} " not in drawn[source.stem]
    ]
    assert old == []
