"""Nothing that a test has committed outlives it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.test import TransactionTestCase
from django_celery_beat.models import PeriodicTask

from durable_objects.tables import Object
from tests.models import Counter
from tests.support.threads import InThread, await_event

pytestmark = pytest.mark.django_db(transaction=True)


def end_of_a_test() -> None:
    """What happens to the database after each transactional test."""
    TransactionTestCase()._fixture_teardown()  # type: ignore[attr-defined]  # Django's own hook


def held() -> dict[str, Any]:
    """What is in every table, but for which migrations ran."""
    with connection.cursor() as cursor:
        tables, found = connection.introspection.table_names(cursor), {}
        for table in tables:
            cursor.execute(f'SELECT * FROM "{table}"')
            found[table] = sorted(map(repr, cursor.fetchall()))
    return found


def counter() -> ContentType:
    """The content type of a class, as it is stored."""
    return ContentType.objects.get(app_label="tests", model="counter")


LEFT: dict[str, Callable[[], object]] = {
    "an object": lambda: Counter.objects.get_by_name("a").add(),
    "a content type": lambda: ContentType.objects.create(app_label="ghost", model="phantom"),
    "a renamed content type": lambda: ContentType.objects.filter(pk=counter().pk).update(model="gone"),
    "no content type": lambda: counter().delete(),
    "no permissions": lambda: Permission.objects.all().delete(),
    "a permission of another name": lambda: Permission.objects.update(name="other"),
    "beat's entry off": lambda: PeriodicTask.objects.update(enabled=False),
    "a migration on record": lambda: MigrationRecorder(connection).record_applied("ghost", "0001_initial"),
}


@pytest.mark.parametrize("leave", LEFT.values(), ids=LEFT)
def test_rows_are_as_migrated(leave: Callable[[], object]) -> None:
    """Rows that a test added, changed or deleted are as ``migrate`` left them, content types by the same keys."""
    before = held()
    leave()
    assert held() != before
    end_of_a_test()
    assert held() == before


def test_keys_begin_anew() -> None:
    """A key that a test has used is given to the next one again."""
    keys = []
    for _ in range(2):
        keys.append(Object.objects.create(kind=counter(), name="a").pk)
        end_of_a_test()
    assert keys[0] == keys[1]


def test_content_types_are_asked_for_anew() -> None:
    """A content type that a test has created and this process remembers is not taken for one that is there."""
    made = ContentType.objects.create(app_label="ghost", model="phantom")
    assert ContentType.objects.get_for_id(made.pk) == made
    end_of_a_test()
    with pytest.raises(ContentType.DoesNotExist):
        ContentType.objects.get_for_id(made.pk)


def test_who_still_writes_is_waited_for() -> None:
    """What a thread commits while the test ends is gone as well."""
    written = threading.Event()

    def write() -> None:
        with transaction.atomic():
            Object.objects.create(kind=counter(), name="late")
            written.set()
            time.sleep(0.3)  # long enough for one that does not wait to be through

    thread = InThread(write)
    await_event(written)
    end_of_a_test()
    thread.result()
    assert not Object.objects.exists()
