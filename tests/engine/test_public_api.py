"""What apps use of the engine beside ``DurableObject`` itself (docs/reference/public-api.md)."""

from __future__ import annotations

import ast
import inspect
import sys

import pytest

from durable_objects.models import DurableObject, Entry, Object, decode
from tests.models import Counter

pytestmark = pytest.mark.django_db(transaction=True)


def add(obj: Counter) -> int:
    """One more; the count."""
    count: int = obj.storage.get("count", 0) + 1
    obj.storage.put("count", count)
    return count


def fail(obj: Counter) -> int:
    """Write, and raise."""
    add(obj)
    raise ValueError("mine")


def test_call_each_answers_each_call() -> None:
    """Each call has its own answer or its own error, in order; what a failed one wrote is gone; no calls, no turn."""
    first, failed, last = Counter.objects.call_each("a", [add, fail, add])
    assert (first, repr(failed), last) == (1, "ValueError('mine')", 2)
    assert Counter.objects.call_each("unused", []) == []
    assert not Counter.objects.filter(name="unused").exists()


def test_in_turn() -> None:
    """True in a turn of the object, by any instance of it; False outside, for another object, and while unlocked."""
    one, same, other = (Counter.objects.get_by_name(name) for name in ("a", "a", "b"))
    seen = []

    def look() -> None:
        seen.append((one.in_turn, same.in_turn, other.in_turn))
        with one.unlocked():
            seen.append((one.in_turn, same.in_turn, other.in_turn))

    one.run_exclusive(look)
    assert seen == [(True, True, False), (False, False, False)]
    assert not one.in_turn


def test_decode() -> None:
    """The text of an entry gives back the value that was stored."""
    Counter.objects.get_by_name("a").storage.put("key", (1, {"b"}))
    assert decode(Entry.objects.get(key="key").value) == (1, {"b"})


def test_a_type_checker_sees_no_meta_to_override() -> None:
    """``class Meta: proxy = True`` of a subclass overrides nothing: not at run time, and not for pyright."""
    assert not hasattr(DurableObject, "Meta")
    for base in (DurableObject, Object):
        (body,) = [
            node.body for node in ast.parse(inspect.getsource(sys.modules[base.__module__])).body
            if isinstance(node, ast.ClassDef) and node.name == base.__name__
        ]  # fmt: skip
        assert [node for node in body if isinstance(node, ast.ClassDef) and node.name == "Meta"] == []
