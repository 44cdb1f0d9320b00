"""Any nest of blocks and savepoints leaves storage and the user's own rows the same."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from durable_objects.tables import Object
from tests.models import Note, Script, Scripted
from tests.support.examples import examples
from tests.support.storage_and_rows import agree, sql

pytestmark = pytest.mark.django_db(transaction=True)


class Undone(Exception):
    """Rolls a block back."""


KEYS = st.sampled_from("abcd")
STEPS = st.recursive(
    st.one_of(
        st.tuples(st.sampled_from(["put", "delete"]), KEYS),
        st.tuples(st.sampled_from(["savepoint", "undo", "release"]), st.integers(0, 3)),
        st.just(("read", None)),
    ),
    lambda inner: st.tuples(
        st.sampled_from(["atomic", "atomic-undone", "storage", "storage-undone", "call"]), st.lists(inner, max_size=6)
    ),
    max_leaves=25,
)


def follow(obj: Scripted, steps: list[Any]) -> None:
    """Do the steps, each to storage and to rows; savepoints by hand are those made in this block."""
    made: list[str] = []
    for what, of in steps:
        if what == "put":
            obj.storage.put(of, 1)
            Note.objects.get_or_create(text=of)
        elif what == "delete":
            obj.storage.delete(of)
            Note.objects.filter(text=of).delete()
        elif what == "read":
            assert set(obj.storage.list()) == set(Note.objects.values_list("text", flat=True))
            assert [obj.storage.get(key) for key in "abcd"] == [
                1 if Note.objects.filter(text=key).exists() else None for key in "abcd"
            ]
        elif what == "savepoint":
            made.append(transaction.savepoint() if of % 2 else f"by_hand_{len(made)}")
            if not of % 2:
                sql(f"SAVEPOINT {made[-1]}")
        elif what in {"undo", "release"}:
            end(made, what, of)
        else:
            block(obj, what, of)


def end(made: list[str], what: str, of: int) -> None:
    """Release one of these savepoints, or roll back to it: then it can be used again."""
    if not made:
        return
    place = of % len(made)
    if what == "release":
        transaction.savepoint_commit(made[place])
    else:
        sql(f"rollback to {connection.ops.quote_name(made[place])}")
    del made[place + (what == "undo") :]


def block(obj: Scripted, what: str, steps: list[Any]) -> None:
    """The steps in a block of this kind."""
    if what == "call":
        Scripted.objects.get_by_name("other").run_exclusive(lambda: follow(obj, steps))
        return
    around = obj.storage.transaction() if what.startswith("storage") else transaction.atomic()
    try:
        with around:
            follow(obj, steps)
            if what.endswith("undone"):
                raise Undone
    except Undone:
        pass


@pytest.mark.slow
@settings(max_examples=examples(60), deadline=None)
@given(turns=st.lists(st.lists(STEPS, max_size=12), min_size=1, max_size=2))
def test_any_nest_of_savepoints_agrees(turns: list[list[Any]]) -> None:
    """Storage writes, own rows, savepoints by hand, atomic() and storage.transaction() in any order and depth."""
    Scripted.script = Script()
    Note.objects.all().delete()
    Object.objects.all().delete()
    obj = Scripted.objects.get_by_name("a")
    for steps in turns:
        obj.run_exclusive(lambda steps=steps: follow(obj, steps))  # type: ignore[misc]  # typed by follow
        agree(obj)
