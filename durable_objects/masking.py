"""How a secret is kept out of what people see: the password of an address, and whatever a server sends back."""

from __future__ import annotations

import base64
import binascii
import functools
import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

MASK = "••••••"
"""Stands for a secret."""

#: Text shorter than this is no secret worth the name, and would be found everywhere; a password is one all the same.
_LEAST, _LEAST_PASSWORD = 6, 4

_AUTHORITY = re.compile(r"[^/?#]*")
#: What stands between "//" and the path where no user is given.
_HOST_AND_PORT = re.compile(r"(?:[^:@\\\[\]]*|\[[^\]@]*\])(?::\d*)?")
#: A run of backslashes is one piece: each for itself would match it in too many ways.
_PIECES = re.compile(r"\\+|.", re.DOTALL)
#: Backslashes before a letter, or for one of them, of JSON in JSON, five deep. None, where those of the run before it
#: are taken already.
_MOST_ESCAPES = 31
_ESCAPES = rf"\\{{0,{_MOST_ESCAPES}}}+"
_SHORT = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
_NAMED = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}


def masked_url(url: str) -> str:
    """Return the address without the user and password that it has, or that it would have if it were one.

    What is no address is masked up to its last "@", wherever that stands, and behind a ":" that no port follows.
    """
    scheme, slashes, rest = url.partition("//")
    authority = _authority(rest) if slashes else ""
    user, at, _ = authority.rpartition("@")
    if slashes and _HOST_AND_PORT.fullmatch(authority[len(user) + len(at) :]):
        return f"{scheme}//{MASK}@{rest[len(user) + 1 :]}" if at else url
    if not slashes:
        scheme, rest = "", url
    _, at, behind = rest.rpartition("@")
    if at:
        return f"{scheme}{slashes}{MASK}@{behind}"
    host, colon, _ = rest.partition(":")
    return f"{scheme}{slashes}{host}:{MASK}" if colon and slashes else url


def secrets_of(url: str, headers: Mapping[str, str], secret: str) -> list[str]:
    """Return the texts that must not be seen: of an address, of headers, and signing secrets; the longest first."""
    user, colon, password = _authority(url.partition("//")[2]).rpartition("@")[0].partition(":")
    found = [password or user]
    for each in secret.split():
        found += [each, each.partition("_")[2]]
    if user or password:
        found.append(_basic(f"{user}{colon}{password}"))
        found += [unquote(password or user), _basic(f"{unquote(user)}:{unquote(password)}")]
    for value in headers.values():
        token = value.rpartition(" ")[2]
        found += [value, token, *(pair.partition("=")[2].strip() for pair in value.split(";"))]
    passwords = {password, unquote(password), *map(_of_basic, _basics(headers))}
    secrets = [text for text in found if len(text) >= _LEAST] + [
        text for text in passwords if len(text) >= _LEAST_PASSWORD
    ]
    return sorted(set(secrets), key=len, reverse=True)


def scrub(text: str, secrets: Iterable[str], mask: str = MASK) -> str:
    """Return the text with the mask in place of each secret, as it is or escaped as in JSON, HTML and URLs: a server
    may send back what it was sent.
    """
    pattern = _pattern(tuple(secrets))
    return pattern.sub(mask, text) if pattern else text


@functools.lru_cache(maxsize=256)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    if not secrets:
        return None
    return re.compile("|".join("".join(map(_forms, _PIECES.findall(secret))) for secret in secrets))


@functools.lru_cache(maxsize=1024)
def _forms(piece: str) -> str:
    """Return a pattern for a letter or a run of backslashes, as it is or escaped, a few times over too.

    What sends it back may be hostile: so each run is bounded, and given up as a whole (``+`` behind the bound).
    """
    letter, times = piece[0], len(piece)
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    in_json = "".join(rf"{_ESCAPES}u(?i:{units[at : at + 4]})" for at in range(0, len(units), 4))
    in_url = "".join(f"%(?i:{byte:02x})" for byte in letter.encode(errors="surrogatepass"))
    number = ord(letter)
    in_html = rf"&(?:#0*{number}|#[xX]0*(?i:{number:x})" + (f"|{_NAMED[letter]}" if letter in _NAMED else "") + ");"
    if letter == "\\":
        plain = rf"\\{{{times},{times * _MOST_ESCAPES}}}+"
        return f"(?:{plain}|(?:{in_json}){{{times}}}|(?:{in_url}){{{times}}}|(?:{in_html}){{{times}}})"
    short = f"|{_ESCAPES}{_SHORT[letter]}" if letter in _SHORT else ""
    return f"(?:{_ESCAPES}{re.escape(letter)}{short}|{in_json}|{in_url}|{in_html}{r'|[+]' if letter == ' ' else ''})"


def _authority(rest: str) -> str:
    found = _AUTHORITY.match(rest)
    return found[0] if found else ""


def _basic(user_and_password: str) -> str:
    return base64.b64encode(user_and_password.encode(errors="replace")).decode().rstrip("=")


def _basics(headers: Mapping[str, str]) -> list[str]:
    return [value.rpartition(" ")[2] for value in headers.values() if value.lower().startswith("basic ")]


def _of_basic(token: str) -> str:
    try:
        return base64.b64decode(token + "==").decode(errors="replace").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
