"""What the pages show of the example is the example."""

from __future__ import annotations

from tests.architecture.sources import ROOT
from tests.examples.shown_files import filled, pages


def test_pages_show_the_example_as_it_is() -> None:
    """Each file of the example that a page shows is the file itself; `python -m tests.examples` writes it there."""
    shown = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in pages()}
    assert "docs/start/tutorial.md" in shown
    assert {name for name, text in shown.items() if filled(text) != text} == set()


def test_a_file_that_was_changed_is_found() -> None:
    """The rule above sees a block that is not the file."""
    page = "<!-- examples/shop/mysite/urls.py -->\n```python\n# mysite/urls.py\nold\n```\n"
    assert filled(page) != page
    assert filled(filled(page)) == filled(page)
