"""The statements on entries: where a prefix ends, and how many rows one takes."""

from __future__ import annotations

import pytest
from django.db import connection

from durable_objects.database.backends import backend_of
from durable_objects.database.backends.base import Backend
from durable_objects.entries import sql
from durable_objects.entries.sql import Change


@pytest.mark.parametrize(
    ("prefix", "following"),
    [
        ("a", "b"),
        ("a\U0010ffff", "b"),
        ("\U0010ffff", None),
        ("\ud7ff", "\ue000"),
        ("a\uffff", "a\U00010000"),
    ],
)
def test_where_a_prefix_ends(prefix: str, following: str | None) -> None:
    """The first text after all that begin with it is one that a database can store, or there is none."""
    assert sql.next_prefix(prefix) == following


def test_no_statement_has_more_rows_than_a_database_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much one turn writes and deletes, each of its statements is bounded, and all of it is stored."""
    most = sql._CHUNK
    writes = {f"{kind}{number}": text for number in range(most + 1) for kind, text in (("gone", None), ("put", "1"))}
    monkeypatch.setattr(type(backend_of(connection)), "rows", Backend.rows)  # a parameter for each value
    statements = list(sql.storing(connection, [Change(1, writes)]))
    deleted = [params[1:] for text, params in statements if text.startswith("DELETE")]
    stored = [params[1::3] for text, params in statements if text.startswith("INSERT")]
    assert [len(keys) for keys in deleted] == [len(keys) for keys in stored] == [most, 1]
    assert {key for keys in [*deleted, *stored] for key in keys} == writes.keys()
