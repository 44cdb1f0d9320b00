"""Validate names, keys and other text: what every database here can store."""

import json
import reprlib
from uuid import UUID

from durable_objects.errors import InvalidInput, InvalidKey, InvalidName
from durable_objects.escaping import visible

MAX_NAME_CHARACTERS = 512
MAX_KEY_BYTES = 2_048
#: In bits; a longer number is not shown. Python refuses to write one of more than 4,300 digits.
LONGEST_INT = 4_096


def check_name(name: str) -> str:
    """Return `name` if it can be the name of an object: exactly `str`, 1 to 512 characters, no NUL, no lone surrogate.

    Raises InvalidName otherwise.
    """
    _check_text("name", name, InvalidName)
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise InvalidName(f"The name {show(name)} has {len(name):,} characters. Allowed: {InvalidName.allowed}.")
    return name


def check_key(key: str) -> str:
    """Return `key` if it can be a storage key: exactly `str`, 1 to 2,048 bytes of UTF-8, no NUL, no lone surrogate.

    Raises InvalidKey otherwise.
    """
    _check_text("key", key, InvalidKey)
    if not 1 <= (size := utf8_size(key)) <= MAX_KEY_BYTES:
        raise InvalidKey(f"The key {show(key)} has {size:,} bytes of UTF-8. Allowed: {InvalidKey.allowed}.")
    return key


def _check_text(what: str, text: object, error: type[InvalidInput]) -> None:
    if type(text) is not str:
        number = f": pass str({show(text)})" if type(text) in {int, UUID} else ""
        raise error(f"The {what} {show(text)} {foreign(text, {str})}{number}. Allowed: {error.allowed}.")
    if flaw := text_flaw(text):
        raise error(f"The {what} {show(text)} {flaw}. Allowed: {error.allowed}.")


def text_flaw(text: str) -> str | None:
    """Say what in this text some database could not keep; None if nothing."""
    if "\0" in text:
        return f"has a NUL character at position {text.index(chr(0))}"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return f"has a lone surrogate, {text[error.start]!a}, at position {error.start}"
    return None


def foreign(value: object, allowed: set[type]) -> str:
    """Say that `value` is not exactly of an allowed type, and which of them it is a subclass of."""
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    base = next((base.__name__ for base in kind.__mro__[1:] if base in allowed), None)
    return f"is of type {name}" + (
        f", a subclass that would come back as plain {base}: convert it first" if base else ""
    )


def utf8_size(text: str) -> int:
    """Return how many bytes of UTF-8 `text` takes; it must have no lone surrogates."""
    return len(text) if text.isascii() else len(text.encode())


def refusal(problem: str, allowed: str, kind: type[InvalidInput] = InvalidInput) -> InvalidInput:
    """Return the error for bad input, whose text and ``allowed`` say what would be accepted."""
    error = kind(f"{problem}. Allowed: {allowed}.")
    error.allowed = allowed
    return error


def show(value: object) -> str:
    """Return a short, printable form of anything, for messages; text stands in double quotes."""
    if type(value) is str:
        text = value if len(value) <= 40 else value[:36] + "…"
        return f'"{text}"' if text.isprintable() else visible(json.dumps(text))
    if type(value) is int and value.bit_length() > LONGEST_INT:
        return "<int>"  # from Python 3.14 on its repr is a sentence with an address
    try:
        return reprlib.repr(value)
    except Exception:  # noqa: BLE001  a repr of the user's own can raise anything; an int can have too many digits
        return f"<{type(value).__qualname__}>"
