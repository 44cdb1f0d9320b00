"""The runs that stand beside the table: what docs/why/scale.md has of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import partitions, server, year


@pytest.mark.parametrize(("name", "table"), [("partitions", partitions.table), ("year", year.table)])
def test_the_page_has_the_figures_that_are_kept(name: str, table: Callable[[dict[str, Any]], str]) -> None:
    """The tables of docs/why/scale.md are those of the last run's figures, written by it and not by hand."""
    kept = json.loads((server.DOCS / f"{name}.json").read_text("utf-8"))
    assert table(kept) in (server.DOCS / "scale.md").read_text("utf-8")
