"""A list of one class looks at no rows of others: what it asks names the class, and where its rows are."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection, models
from django.db.models.functions import Length
from django.test import Client
from django.test.utils import CaptureQueriesContext

from durable_objects.admin.base import BoundedPaginator
from durable_objects.database.lookups import Among
from durable_objects.models import DurableObject
from durable_objects.tables import Alarm, AlarmRun, Entry, Object, Schedule
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Counter, Impatient, LoudCounter, Script, Scripted
from tests.support.admin_pages import list_url, scripted

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]

HOUR = timedelta(hours=1)
OBJECTS = 5


@pytest.fixture(autouse=True)
def rows(script: Script) -> None:
    """Objects with an alarm, a schedule and an entry each, behind one of another class."""
    Counter.objects.get_by_name("first").add(1)
    for number in range(OBJECTS):
        obj = scripted(f"n{number}", HOUR)
        obj.schedules.set("daily", "scheduled", after=HOUR)
        obj.storage.put("key", number)


class Asked(list[str]):
    """The statements of a block that read."""

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("SELECT"):
            self.append(sql)
        return execute(sql, params, many, context)

    def listening(self) -> AbstractContextManager[None]:
        """Listen for the time of a block."""
        return connection.execute_wrapper(self)


def listed(client: Client, model: type[models.Model], **query: Any) -> tuple[Asked, list[Any]]:
    """What a list asks the second time, when the process knows the classes, and its rows."""
    client.get(list_url(model), query)
    with (asked := Asked()).listening():
        response = client.get(list_url(model), query)
    return asked, list(response.context["cl"].result_list)


def test_the_schedules_of_a_class_are_found_by_their_own_column(admin_client: Client) -> None:
    """No object is looked at to find them: a class may have many that have none."""
    asked, found = listed(admin_client, Schedule, **{"class": Scripted.kind_pk()})
    assert len(found) == OBJECTS
    assert [sql for sql in asked if '"durable_objects_object"."kind_id" =' in sql] == []
    assert [sql for sql in asked if '"durable_objects_schedule"."kind_id" =' in sql] != []


def test_the_entries_of_a_class_are_looked_for_among_its_objects(admin_client: Client) -> None:
    """Those of objects before its first one are not read, nor those behind its last one, and none is left out."""
    ends = Scripted.objects.aggregate(first=models.Min("pk"), last=models.Max("pk"))
    with CaptureQueriesContext(connection) as queries:
        response = admin_client.get(list_url(Entry), {"class": Scripted.kind_pk()})
    assert [row.object.name for row in response.context["cl"].result_list] == [f"n{n}" for n in range(OBJECTS)]
    reading = [each["sql"] for each in queries if 'JOIN "durable_objects_object"' in each["sql"]]
    assert reading != []
    for sql in reading:
        assert f'"object_id" >= {ends["first"]}' in sql
        assert f'"object_id" <= {ends["last"]}' in sql
    none = admin_client.get(list_url(Entry), {"class": LoudCounter.kind_pk()})
    assert list(none.context["cl"].result_list) == []


@pytest.mark.parametrize(("model", "query"), [(Scripted, ""), (Impatient, "error:patience")])
def test_the_runs_of_a_class_are_looked_for_once(
    model: type[DurableObject],
    query: str,
    admin_client: Client,
    alarm_clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One statement looks at the objects of runs, of those between the first and the last of the class: neither the
    count nor the page does it again. The newest that a list counts are there, and those alone.
    """
    Impatient.objects.get_by_name("behind").storage.set_alarm(HOUR)
    alarm_clock.advance(HOUR)
    run_due_alarms()
    runs = AlarmRun.objects.filter(object__kind=model.kind_pk()).order_by("-pk")
    monkeypatch.setattr(BoundedPaginator, "LIMIT", 3)
    asked, found = listed(admin_client, AlarmRun, q=query, **{"class": model.kind_pk()})
    looking = [sql for sql in asked if "JOIN" in sql and '"durable_objects_object"."kind_id" =' in sql]
    assert len(looking) == 1
    assert '"object_id" >= %s' in looking[0]
    assert '"object_id" <= %s' in looking[0]
    assert found == list(runs[:3]) != []


@pytest.mark.parametrize("model", [Scripted, Object])
def test_objects_found_by_their_alarms_are_one_parameter(model: type[models.Model], admin_client: Client) -> None:
    """On PostgreSQL the keys of those that a list finds by their alarms are sent as one array, however many."""
    asked, found = listed(admin_client, model, state="armed")
    assert len(found) == OBJECTS
    by_keys = [sql for sql in asked if '"durable_objects_object"."id" = ANY(%s)' in sql]
    assert bool(by_keys) == (connection.vendor == "postgresql")


@pytest.mark.parametrize("keys", [[], [-1], [2], [1, 2, 2, 3]])
def test_among_finds_what_in_finds(keys: list[int]) -> None:
    """Rows among these numbers are those whose number is one of them, also where there are none."""
    rows = ContentType.objects.annotate(number=Length("model")).order_by("pk")
    longest = [6 + key for key in keys]
    one, other = rows.filter(Among(models.F("number"), longest)), rows.filter(number__in=longest)
    assert list(one) == list(other)
    assert list(rows.exclude(Among(models.F("number"), longest))) == list(rows.exclude(number__in=longest))


def test_a_class_is_a_number_in_its_lists(admin_client: Client) -> None:
    """A list of one class names it by the number that the process knows: by a lookup in the statement the database
    could not tell a large class from a small one.
    """
    asked, found = listed(admin_client, Scripted)
    assert len(found) == OBJECTS
    assert [sql for sql in asked if '"kind_id" = (SELECT' in sql] == []


def test_a_queryset_of_a_class_is_built_without_a_query(django_assert_num_queries: Any) -> None:
    """Where the process does not know the class yet the statement looks it up: same rows, no query more."""
    ContentType.objects.clear_cache()
    with django_assert_num_queries(0):
        rows = Scripted.objects.order_by("name")
    with django_assert_num_queries(1) as looked_up:
        names = [row.name for row in rows.all()]
    Scripted.kind_pk()
    with django_assert_num_queries(1) as known:
        assert [row.name for row in rows.all()] == names == [f"n{number}" for number in range(OBJECTS)]
    assert '"kind_id" = (SELECT' in looked_up[0]["sql"]
    assert "django_content_type" not in known[0]["sql"]


def test_errors_of_a_subclass_are_offered_in_its_own_list_only(admin_client: Client) -> None:
    """The list of a class has no objects of its subclasses, and no filter by what only those died of."""
    obj = LoudCounter.objects.get_by_name("loud")
    obj.save()
    row = Object.objects.get(name="loud")
    Alarm.objects.create(
        object=row, kind_id=row.kind_id, state="dead", last_error="ValueError: too loud", error_group="0" * 16
    )
    assert "too loud" in admin_client.get(list_url(Object)).content.decode()
    assert "too loud" not in admin_client.get(list_url(Counter)).content.decode()
