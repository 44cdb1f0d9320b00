"""What a page shows of typed code passes ``mypy --strict``, in the example that it is written into."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import blocks_of
from tests.docs.reader import append, files_in
from tests.examples.shop import Shop

#: The pages whose point is what a type checker knows.
PAGES = ["docs/guides/async.md"]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_files_of_a_page_are_strictly_typed(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader who types them into the example has nothing to annotate and nothing to ignore."""
    shop = Shop(tmp_path)
    monkeypatch.chdir(shop.folder)
    files = [file for block in blocks_of(page) if block.language == "python" for file in files_in(block)]
    assert files
    for file, text in files:
        append(file, text)
    assert "Success" in shop.python("-m", "mypy")
    wrong = (
        "from shop.models import Cart\n\n\nasync def wrong(cart: Cart) -> None:\n    await cart.acall(Cart.add, 5)\n"
    )
    Path("shop/wrong.py").write_text(wrong, "utf-8")
    with pytest.raises(AssertionError, match=r'Argument 2 to "acall" of "DurableObject" has incompatible type "int"'):
        shop.python("-m", "mypy")
