"""Which pages have parts that are written from the code, and between which comments these stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from docs.generated.commands import commands
from docs.generated.figures import figures
from docs.generated.glossary import linked
from docs.generated.messages import checks, findings
from docs.generated.operations import known_scopes, operations
from docs.generated.selection import selection
from docs.generated.settings import settings
from docs.generated.sources import ROOT

#: What is written, by the name that the comment before it has.
PARTS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "commands": commands,
    "checks": checks,
    "findings": findings,
    "operations": operations,
    "scopes": known_scopes,
    "figures": figures,
    "selection": selection,
}
FOLDER = ROOT / "docs"
_END = "<!-- end of what make docs writes -->"
_PART = re.compile(rf"(<!-- written by make docs: (\w+) -->\n).*?{_END}", re.DOTALL)


def current(text: str) -> str:
    """Return a page's text with each of its parts as the code has it now. Raises ``KeyError`` for an unknown one."""
    return _PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n\n{_END}", text)


def stale() -> Iterator[tuple[str, str]]:
    """Yield each page whose parts are not what the code says, by its path in docs, with what it should be."""
    for page in sorted(FOLDER.glob("*/*.md")):
        text = page.read_text("utf-8")
        if (wanted := linked(current(text), page)) != text:
            yield page.relative_to(FOLDER).as_posix(), wanted
