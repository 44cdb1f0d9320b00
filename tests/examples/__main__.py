"""Write the files of the example into the pages that show them: ``python -m tests.examples``."""

from __future__ import annotations

from tests.examples.shown_files import filled, pages

if __name__ == "__main__":
    for page in pages():
        page.write_text(filled(page.read_text("utf-8")), "utf-8")
