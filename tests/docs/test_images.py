"""The pictures of the pages."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: What a picture may weigh.
BYTES = 200_000


def test_pictures_are_light_and_shown() -> None:
    """Each picture is on some page, and is light enough for a phone; ``python -m docs.pictures`` draws them."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "".join(page.read_text("utf-8") for page in pages)
    pictures = sorted((ROOT / "docs/images").glob("*.png"))
    assert [picture.name for picture in pictures if f"images/{picture.name})" not in text] == []
    assert [picture.name for picture in pictures if picture.stat().st_size > BYTES] == []
