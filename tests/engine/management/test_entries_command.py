"""``manage.py objects get``, ``put`` and ``delete_key``: one entry, through a turn."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from durable_objects.tables import Object
from tests.models import Script, Scripted
from tests.support.admin_pages import park, scripted

pytestmark = pytest.mark.django_db

KIND = "tests.Scripted"


@pytest.fixture(autouse=True)
def _script(script: Script) -> None:
    """Every test has a script of its own."""


def objects(*arguments: str) -> Any:
    """What ``manage.py objects … --json`` prints."""
    out = StringIO()
    call_command("objects", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


def test_put_get_and_delete() -> None:
    """A value is stored as its type, printed and deleted; each answer has what was there before."""
    obj = scripted("one")
    assert objects("put", KIND, "one", "n", "[1]") == {"key": "n", "done": "stored", "was": None}
    assert objects("put", KIND, "one", "n", "[1]")["done"] == "unchanged"
    assert objects("put", KIND, "one", "n", "2")["was"] == [1]
    assert objects("get", KIND, "one", "n") == {"key": "n", "type": "int", "value": 2}
    objects("put", KIND, "one", "at", "2031-01-01T00:00:00+00:00", "--type", "datetime")
    assert obj.storage.list() == {"at": datetime(2031, 1, 1, tzinfo=UTC), "n": 2}
    assert objects("delete_key", KIND, "one", "n") == {"key": "n", "done": "deleted", "was": 2}
    assert objects("delete_key", KIND, "one", "n")["done"] == "not there"


def test_only_if_it_is_as_it_was_seen() -> None:
    """With --if-value or --if-missing nothing is written where another value is, and the error says which."""
    obj = scripted("one")
    obj.storage.put("n", 1)
    for arguments in (["put", KIND, "one", "n", "5", "--if-value", "2"], ["put", KIND, "one", "n", "5", "--if-missing"],
                      ["delete_key", KIND, "one", "n", "--if-value", "2"]):  # fmt: skip
        with pytest.raises(CommandError, match=r"changed meanwhile: it is now 1\. Nothing was written\."):
            objects(*arguments)
    assert obj.storage.get("n") == 1
    objects("put", KIND, "one", "n", "5", "--if-value", "1")
    objects("put", KIND, "one", "m", "5", "--if-missing")
    assert obj.storage.list() == {"m": 5, "n": 5}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("put", KIND, "nobody", "n", "1"), "no object 'nobody'"),
        (("put", KIND, "one", "n", "tea"), "of the type json looks like"),
        (("put", KIND, "one", "", "1"), "key"),
        (("get", KIND, "one", "n"), "has no key n"),
        (("put", KIND, "one", "secret:a", "1"), "is masked"),
        (("delete_key", KIND, "one", "secret:a"), "is masked"),
    ],
)
def test_what_is_refused(arguments: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad input, an object that was never used and a masked key get one line, and change nothing."""
    monkeypatch.setattr(Scripted, "masked_keys", ("secret:*",))
    obj = scripted("one")
    obj.storage.put("secret:a", "hush")
    with pytest.raises(CommandError, match=words):
        objects(*arguments)
    assert obj.storage.list() == {"secret:a": "hush"}
    assert Object.objects.count() == 1
    assert objects("get", KIND, "one", "secret:a")["value"] == "••••••"


def test_a_parked_object_is_left_alone() -> None:
    """Without its class nothing of its storage is shown or changed."""
    park("lost")
    with pytest.raises(CommandError, match="does not have"):
        objects("put", "ghost.phantom", "lost", "k", "2")
    assert objects("get", "ghost.phantom", "lost", "k")["value"] == "••••••"
