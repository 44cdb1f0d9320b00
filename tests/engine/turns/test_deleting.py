"""A deletion that was refused: the object is as it was, and so is what else its turn did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import ProtectedError
from django.db.models.signals import pre_delete

from durable_objects import AlarmInfo, DurableObjectError
from durable_objects.execution.executor import fire
from durable_objects.models import DurableObject
from durable_objects.operations import actions
from durable_objects.tables import Alarm, AlarmRun, Object
from tests.models import Counter, Note, Script, Scripted, Voucher

pytestmark = pytest.mark.django_db


def protect(obj: DurableObject) -> None:
    """Have a row that refuses the object's deletion."""
    Voucher.objects.create(object=Object.objects.get(pk=obj.pk))


def delete_in_vain(obj: DurableObject) -> None:
    """Ask for a deletion that is refused, and go on."""
    with pytest.raises((ProtectedError, LookupError)):
        obj.delete()


@pytest.fixture
def refusing() -> Iterator[None]:
    """A receiver of ``pre_delete`` refuses every deletion."""

    def refuse(**named: object) -> None:
        Note.objects.create(text="undone with the deletion")
        raise LookupError("not this one")

    pre_delete.connect(refuse, sender=Scripted, weak=False, dispatch_uid="refuse")
    yield
    pre_delete.disconnect(sender=Scripted, dispatch_uid="refuse")


def by_a_receiver(obj: Scripted) -> None:
    """Nothing to prepare: ``refusing`` does it."""


WAYS: list[Callable[[Any], None]] = [protect, by_a_receiver]


@pytest.mark.parametrize("prepare", WAYS, ids=["protected", "receiver"])
def test_call_keeps_what_it_wrote_around_a_refused_deletion(
    obj: Scripted, prepare: Callable[[Any], None], request: pytest.FixtureRequest
) -> None:
    """What a call wrote before and after is stored, with its own rows, alarm, and what it reads in between."""
    obj.storage.put("k", 0)
    prepare(obj)
    if prepare is by_a_receiver:
        request.getfixturevalue("refusing")

    def close() -> None:
        obj.storage.put("before", 1)
        delete_in_vain(obj)
        assert obj.storage.get("before") == 1
        obj.storage.put("after", 2)
        obj.storage.set_alarm(timedelta(hours=1))
        Note.objects.create(text="closed")

    obj.run_exclusive(close)
    assert obj.storage.list() == {"k": 0, "before": 1, "after": 2}
    assert obj.storage.get_alarm() is not None
    assert [note.text for note in Note.objects.all()] == ["closed"]


@pytest.mark.parametrize("prepare", WAYS, ids=["protected", "receiver"])
def test_run_is_settled_after_a_refused_deletion(
    obj: Scripted, script: Script, prepare: Callable[[Any], None], request: pytest.FixtureRequest
) -> None:
    """A handler that goes on after it has succeeded once, and does not run again."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        delete_in_vain(obj)
        obj.storage.put("ran", 1)

    script.alarm = alarm
    obj.storage.set_alarm(timedelta(0))
    prepare(obj)
    if prepare is by_a_receiver:
        request.getfixturevalue("refusing")
    fire(obj.pk)
    assert obj.storage.list() == {"ran": 1}
    assert not Alarm.objects.filter(state="armed").exists()
    assert [run.outcome for run in AlarmRun.objects.all()] == ["succeeded"]


def test_another_object_is_kept_by_a_refused_deletion(obj: Scripted) -> None:
    """Deleted in vain from another object's turn, it keeps what was written to it there."""
    counter = Counter.objects.get_by_name("c")
    counter.add()
    protect(counter)

    def close() -> None:
        counter.add()
        delete_in_vain(counter)
        obj.storage.put("asked", 1)

    obj.run_exclusive(close)
    assert (counter.storage.get("count"), obj.storage.list()) == (2, {"asked": 1})


def test_queryset_that_is_refused_keeps_all(obj: Scripted) -> None:
    """One that is refused keeps those before it as well."""
    other = Scripted.objects.get_by_name("b")
    obj.storage.put("k", 1)
    other.storage.put("k", 2)
    protect(other)

    def close() -> None:
        with pytest.raises(ProtectedError):
            Scripted.objects.all().delete()
        obj.storage.put("after", 3)

    obj.run_exclusive(close)
    assert (obj.storage.list(), other.storage.list()) == ({"k": 1, "after": 3}, {"k": 2})


def test_object_without_its_class_is_kept_by_a_refused_deletion(obj: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where only the row is known."""
    obj.storage.put("k", 1)
    protect(obj)
    monkeypatch.setattr(actions, "_handle_if_known", lambda row: None)

    def close() -> None:
        with pytest.raises((ProtectedError, DurableObjectError)):
            actions.delete(Object.objects.get(pk=obj.pk))
        obj.storage.put("after", 2)

    obj.run_exclusive(close)
    assert obj.storage.list() == {"k": 1, "after": 2}
