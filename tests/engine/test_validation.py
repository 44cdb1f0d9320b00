"""Names and keys: exactly what the contract allows, up to its edges."""

from collections.abc import Callable
from typing import Any

import pytest

from durable_objects.entries.serializer import check_key, check_name
from durable_objects.errors import InvalidInput, InvalidKey, InvalidName


class Word(str):
    __slots__ = ()


@pytest.mark.parametrize("name", ["x", " ", "é" * 512, "a/b", "\x01", "🦉" * 512])
def test_names_that_are_allowed(name: str) -> None:
    """A name is 1 to 512 characters, whatever they are and however many bytes they take."""
    assert check_name(name) is name


@pytest.mark.parametrize("key", ["x", " ", "k" * 2048, "é" * 1024, "🦉" * 512, "\x01"])
def test_keys_that_are_allowed(key: str) -> None:
    """A key is 1 to 2,048 bytes of UTF-8."""
    assert check_key(key) is key


@pytest.mark.parametrize(
    ("check", "error", "text", "words"),
    [
        (check_name, InvalidName, "", "0 characters"),
        (check_name, InvalidName, "n" * 513, "513 characters"),
        (check_key, InvalidKey, "", "0 bytes"),
        (check_key, InvalidKey, "k" * 2049, "2,049 bytes"),
        (check_key, InvalidKey, "é" * 1024 + "x", "2,049 bytes"),
    ],
)
def test_too_short_or_too_long(check: Callable[[str], str], error: type[InvalidInput], text: str, words: str) -> None:
    """One step past the edge is refused with the size that was met and the one that is allowed."""
    with pytest.raises(error, match=words) as refusal:
        check(text)
    assert error.allowed in str(refusal.value)


@pytest.mark.parametrize(("check", "error"), [(check_name, InvalidName), (check_key, InvalidKey)])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "None is of type NoneType"),
        (10, "10 is of type int: pass str(10)."),
        (b"x", "b'x' is of type bytes"),
        (Word("x"), "plain str: convert it first"),
        (10**5000, "<int> is of type int"),
        ("a\0", r'"a\u0000" has a NUL character at position 1'),
        ("ab\ud800", r"lone surrogate, '\ud800', at position 2"),
    ],
    ids=["None", "int", "bytes", "subclass", "huge", "nul", "surrogate"],
)
def test_not_plain_text(check: Callable[[Any], str], error: type[InvalidInput], text: object, words: str) -> None:
    """What is not exactly str, or has a NUL or lone surrogate, is refused in words that can be printed anywhere."""
    with pytest.raises(error) as refusal:
        check(text)
    assert words in str(refusal.value)
    str(refusal.value).encode()
