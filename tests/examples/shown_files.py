"""The pages that show files of ``examples/shop``: the block behind ``<!-- examples/shop/PATH -->`` is that file."""

from __future__ import annotations

import re
from pathlib import Path

from tests.architecture.sources import ROOT, tracked_files

_SHOWN = re.compile(r"<!-- (examples/shop/(\S+)) -->\n```(\w+)\n.*?^```$", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """The pages of the documentation that show such files."""
    documents = [path for path in tracked_files() if path.suffix == ".md"]
    return [path for path in documents if _SHOWN.search(path.read_text("utf-8"))]


def filled(page: str) -> str:
    """The page with the files as they are now, each under its name."""

    def block(found: re.Match[str]) -> str:
        source, name, language = found.groups()
        text = (ROOT / source).read_text("utf-8")
        return f"<!-- {source} -->\n```{language}\n# {name}\n{text}```"

    return _SHOWN.sub(block, page)
