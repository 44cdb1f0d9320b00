"""What a search reads: rows that no index tells apart are read once for a page, and no more of them than it shows."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext

from durable_objects.admin.base import BoundedPaginator
from durable_objects.alarms.queries import frequent_errors
from durable_objects.operations.selection import Selection, Within
from durable_objects.tables import Alarm, Object
from durable_objects.testing import FakeClock
from tests.models import Counter, Scripted
from tests.support.admin_pages import list_url, scripted, text_of
from tests.support.many_alarms import dead_alarms

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]

EVERYWHERE = Within(entries=1_000, objects=1_000)
ON_POSTGRESQL = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="run with TEST_DATABASE_URL=postgresql://…"
)


def statements_with(client: Client, text: str, model: type[Model], **query: str) -> list[str]:
    """The statements with this text that a list takes for what it is asked for, which finds something."""
    with CaptureQueriesContext(connection) as captured:
        response = client.get(list_url(model), query)
    assert response.context["cl"].result_count > 0
    return [each["sql"] for each in captured if text in each["sql"]]


@pytest.mark.parametrize("model", [Object, Alarm, Scripted])
@pytest.mark.parametrize(
    ("query", "text", "times"),
    [
        ({"q": "key:customer"}, "durable_objects_entry", 1),
        ({"q": "value:ann"}, "%ann%", 1),
        ({"q": "tried>3"}, '"retry_count" > 3', 2),  # once of the dead, once of the retried
        ({"q": "state:idle"}, "'idle'", 1),
    ],
)  # fmt: skip
def test_rows_are_read_once_for_a_page(
    model: type[Model], query: dict[str, str], text: str, times: int, admin_client: Client
) -> None:
    """What no index tells is found once, not for the count and for the list, of objects, alarms and one class."""
    dead_alarms(Scripted, 1)
    scripted("ann").storage.put("customer", "ann")
    scripted("ann").storage.set_alarm(timedelta(hours=1))
    scripted("idle").storage.set_alarm(timedelta(hours=1))
    scripted("idle").storage.delete_alarm()
    assert len(statements_with(admin_client, text, model, **query)) == times


@ON_POSTGRESQL
@pytest.mark.parametrize("model", [Alarm, Scripted])
def test_words_of_errors_are_looked_for_until_enough_are_found(
    model: type[Model], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many errors with these words a page reads about as many as it lists, the newest ones, not all of them; nor the
    alarms that are newer and have none.
    """
    dead_alarms(Scripted, 3_000)
    newer = dead_alarms(Scripted, 3_000, prefix="idle", error="")
    Alarm.objects.filter(object__name__in=newer).update(state="idle", retry_count=0)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    monkeypatch.setattr(BoundedPaginator, "LIMIT", 100)
    searches = statements_with(admin_client, "UPPER(", model, q="error:stock")
    assert [rows_read(sql) <= 200 for sql in searches] == [True] * len(searches) != []


def rows_read(sql: str) -> int:
    """How many rows PostgreSQL reads of tables for a statement."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        found: Any = cursor.fetchone()[0]
    (plan,) = json.loads(found) if isinstance(found, str) else found
    nodes, read = [plan["Plan"]], 0
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if "Relation Name" in node:
            read += (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    return int(read)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("error:money", ["new", "retried", "old"]),
        ("error:MONEY class:tests.Scripted", ["new", "retried", "old"]),
        ("error:money state:retrying", ["retried"]),
        ("error:100%", ["new"]),
        ("error:m_ney", []),
        ("tried>6", ["other", "new", "old"]),
    ],
)
def test_dead_and_retried_are_found_the_newest_first(text: str, names: list[str], clock: FakeClock) -> None:
    """What died and what is retried stand in one list, the newest objects first, by the words as they are written."""
    for name, error in {"old": "no Money", "retried": "money?", "new": "100% of money", "other": "m-ney"}.items():
        dead_alarms(Scripted, 1, prefix=name, error=error)
    retried = Alarm.objects.filter(object__name__startswith="retried")
    retried.update(state="armed", retry_count=2, due_at=clock.now())
    selection = Selection.parse(text)
    for number in (1, 9):
        found = Object.objects.in_bulk(selection.first_alarms(clock.now(), number, EVERYWHERE))
        assert sorted(found, reverse=True) == selection.first_alarms(clock.now(), number, EVERYWHERE)
        assert [found[pk].name[:-6] for pk in sorted(found, reverse=True)] == names[:number]


def test_a_list_says_what_was_searched(admin_client: Client) -> None:
    """Where a list searches among the newest only, it says of what, and how many."""
    scripted("ann").storage.put("customer", "ann")
    shown = {query: text_of(admin_client, f"{list_url(Scripted)}?q={query}") for query in ("key:customer", "value:ann")}
    assert "1 scripted with the key customer. The newest 100,000 objects were searched." in shown["key:customer"]
    assert "The newest 1,000,000 entries were searched." in shown["value:ann"]
    assert "were searched" not in text_of(admin_client, f"{list_url(Alarm)}?q=state:idle")


def test_a_key_is_looked_for_in_the_newest_objects(clock: FakeClock) -> None:
    """With a bound a key is looked for in that many of the newest objects of the class; without one, in all."""
    for name in ("old", "new"):
        scripted(name).storage.put("customer", name)
    Counter.objects.get_by_name("of another class").add(1)
    selection = Selection.parse("key:customer class:tests.Scripted")
    assert [row.name for row in selection.objects(clock.now(), within=Within(9, objects=1))] == ["new"]
    assert {row.name for row in selection.objects(clock.now(), within=Within(9, objects=2))} == {"new", "old"}
    assert {row.name for row in selection.objects(clock.now())} == {"new", "old"}


def test_which_alarms_died_last_is_asked_of_an_index_alone() -> None:
    """The errors that are frequent are read of those that died last, which are found by columns of their index only."""
    dead_alarms(Scripted, 3)
    with CaptureQueriesContext(connection) as captured:
        assert [*frequent_errors(5, [Scripted.kind_pk()]).values()] != []
    _, _, newest = captured[0]["sql"].partition(" IN (SELECT ")
    assert "LIMIT 1000" in newest
    assert "error" not in newest.partition("LIMIT 1000")[0]
