"""Sweeping: entries deleted in the database by what their values say, a bounded part of the key order at a time."""

from __future__ import annotations

import pytest

from durable_objects import DurableObjectError, InvalidInput
from durable_objects.bulk_delete import Swept, sweep
from durable_objects.tables import Object
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Script, Scripted

pytestmark = pytest.mark.django_db

#: Ranks an entry by the length of its JSON text: of a text two more than it has characters.
LENGTH = "LENGTH(item)"


@pytest.fixture
def texts(obj: Scripted) -> Scripted:
    """An object with the keys a to f, whose values rank 3 to 8."""
    obj.storage.put_many({key: "x" * length for length, key in enumerate("abcdef", start=1)})
    return obj


def test_a_sweep_walks_on_from_where_the_last_one_ended(texts: Scripted) -> None:
    """Each call looks at ``limit`` keys, deletes those below the bound only, and says what it left and where it is."""
    Scripted.objects.get_by_name("other").storage.put("a", "x")
    assert sweep(texts, LENGTH, 5, limit=4, delete=False) == Swept(4, 2, 5, "d")
    assert sweep(texts, LENGTH, 5, limit=4) == Swept(4, 2, 5, "d")
    assert list(texts.storage.list()) == ["c", "d", "e", "f"]
    assert sweep(texts, LENGTH, 8, start_after="d", limit=4) == Swept(2, 1, 8, None)
    assert list(texts.storage.list()) == ["c", "d", "f"]
    assert Scripted.objects.get_by_name("other").storage.get("a") == "x"


def test_what_is_left_aside_stays_and_is_counted(texts: Scripted) -> None:
    """An entry that ``aside`` names is not deleted, whatever its rank."""
    aside = f"{LENGTH} IN (4, 6)"
    for delete in (False, True):
        assert sweep(texts, LENGTH, 6, limit=9, aside=aside, delete=delete) == Swept(6, 2, 6, None, 2)
    assert list(texts.storage.list()) == ["b", "d", "e", "f"]


def test_a_count_makes_nothing(obj: Scripted) -> None:
    """With ``delete=False`` an object that was never used stays so; a limit that means nothing is refused."""
    assert sweep(obj, LENGTH, 5, limit=4, delete=False) == Swept(0, 0, None, None)
    with pytest.raises(InvalidInput, match="limit is 0"):
        sweep(obj, LENGTH, 5, limit=0)
    assert not Object.objects.exists()


def test_a_turn_sees_what_it_has_swept(texts: Scripted) -> None:
    """What was read before is read again, a key put before stays, and an error takes the sweep back."""

    def change(error: Exception | None) -> None:
        assert texts.storage.get("a") == "x"
        texts.storage.put("b", "xx")
        sweep(texts, LENGTH, 5, limit=9)
        assert texts.storage.get("a") is None
        if error is not None:
            raise error

    with pytest.raises(ValueError, match="undo"):
        texts.run_exclusive(lambda: change(ValueError("undo")))
    assert list(texts.storage.list()) == list("abcdef")
    texts.run_exclusive(lambda: change(None))
    assert list(texts.storage.list()) == list("bcdef")


def test_no_sweep_that_a_savepoint_could_undo(texts: Scripted, script: Script, clock: FakeClock) -> None:
    """Inside a savepoint it is refused, since the turn would go on with what came back; unlocked, a run may sweep."""
    with pytest.raises(DurableObjectError, match="cannot be swept inside"), texts.storage.transaction():
        sweep(texts, LENGTH, 5, limit=9)

    def sweep_unlocked(obj: Scripted, info: object) -> None:
        with pytest.raises(DurableObjectError, match="cannot be swept inside"):
            sweep(obj, LENGTH, 5, limit=9)
        with obj.unlocked():
            sweep(obj, LENGTH, 5, limit=9)

    script.alarm = sweep_unlocked
    texts.storage.set_alarm(clock.now())
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
    assert list(texts.storage.list()) == list("cdef")


@pytest.mark.django_db(transaction=True)
def test_no_sweep_in_a_turn_that_calls_share(texts: Scripted) -> None:
    """A combined call that sweeps runs alone, so that what it swept is back when it raises."""

    def fail() -> None:
        sweep(texts, LENGTH, 5, limit=9)
        raise ValueError("undo")

    with pytest.raises(ValueError, match="undo"):
        texts.run_combined(fail)
    assert list(texts.storage.list()) == list("abcdef")
