"""Operations do each object that matches once, however they are stopped, killed or met by others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models import F

import durable_objects
from durable_objects import DurableObjectError
from durable_objects.alarms.pauses import paused
from durable_objects.conf import engine
from durable_objects.delivery import bulk_operations, dispatcher, publisher
from durable_objects.errors import InvalidInput
from durable_objects.operations import bulk, bulk_chunks, bulk_verbs, changes
from durable_objects.tables import Alarm, Object, Operation
from durable_objects.testing import SimulatedCrash, crash_at
from tests.models import Counter, Grouped, LoudCounter, Script, Scripted
from tests.support.another_class import make_of
from tests.support.many_alarms import dead_alarms
from tests.support.threads import InThread, await_event, await_that

pytestmark = pytest.mark.django_db(transaction=True)

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
DEAD = "class:tests.Scripted state:dead"


def start(verb: str = "revive", selection: str = DEAD, **more: object) -> Operation:
    """An operation of ada's."""
    return bulk.start(verb, selection, by="ada", **more)  # type: ignore[arg-type]  # what a test gives is right


def drive(operation: Operation, seconds: float = 60) -> Operation:
    """The operation after a worker has gone on with it."""
    at = bulk.get(operation.pk)
    bulk_chunks.drive(at.pk, at.fence, seconds=seconds)
    return bulk.get(operation.pk)


def figures(operation: Operation) -> tuple[str, int, int, int]:
    """State, done, skipped, failed."""
    return operation.state, operation.done, operation.skipped, operation.failed


def test_revives_all_that_match(script: Script) -> None:
    """An operation does what matches, in chunks, counts it, and leaves the rest alone."""
    dead_alarms(Scripted, 450)
    dead_alarms(Grouped, 3)
    operation = start()
    assert (operation.total, operation.words != "") == (450, True)
    assert figures(drive(operation)) == ("done", 450, 0, 0)
    assert Alarm.objects.filter(state="armed", retry_count=0, last_error__gt="").count() == 450
    assert Alarm.objects.filter(state="dead").count() == 3
    assert drive(operation).fence == 1


def test_stops_at_the_edge_of_a_chunk_and_goes_on(script: Script) -> None:
    """Stopped, it has done whole chunks and nothing is done any more; it goes on behind the last of them."""
    dead_alarms(Scripted, 500)
    operation = start()
    watched: list[int] = []

    def stop(at: Operation) -> None:
        watched.append(at.done)
        assert bulk.stop(at)

    bulk_chunks.drive(operation.pk, 0, watch=stop)
    assert figures(bulk.get(operation.pk)) == ("stopped", 200, 0, 0)
    assert Alarm.objects.filter(state="armed").count() == 200
    assert watched == [200]
    assert drive(operation).state == "stopped"
    assert bulk.go_on(operation)
    assert figures(drive(operation)) == ("done", 500, 0, 0)
    assert not bulk.go_on(operation)
    assert not bulk.stop(operation)


@pytest.mark.parametrize("point", ["turn.before_commit", "turn.after_commit"])
def test_killed_in_a_chunk(script: Script, point: str) -> None:
    """A worker that dies before or after its commit leaves nothing undone, nothing done twice, and figures that fit."""
    dead_alarms(Scripted, 450)
    operation = start("move", "class:tests.Scripted state:armed", arguments={"by": "1h"})
    assert operation.total == 0
    Alarm.objects.update(state="armed", due_at=(at := datetime(2040, 1, 1, tzinfo=UTC)), scheduled_at=at)
    with crash_at(point), pytest.raises(SimulatedCrash):
        drive(operation)
    after = bulk.get(operation.pk)
    assert after.done == Alarm.objects.exclude(due_at=at).count() == (200 if point == "turn.after_commit" else 0)
    assert figures(drive(operation)) == ("done", 450, 0, 0)
    assert Alarm.objects.filter(due_at=at + HOUR).count() == 450


def test_another_worker_takes_over(script: Script) -> None:
    """A worker that wakes up after another one has taken over changes nothing: its chunk is undone."""
    dead_alarms(Scripted, 300)
    operation = start()
    overtaken: list[str] = []

    def overtake(obj: Scripted) -> None:
        if obj.name.endswith("0150") and not overtaken:
            overtaken.append(obj.name)
            Operation.objects.update(fence=F("fence") + 1)

    script.initialize = overtake
    assert bulk_chunks.drive(operation.pk, 0) is None
    assert figures(bulk.get(operation.pk)) == ("running", 0, 0, 0)
    assert not Alarm.objects.filter(state="armed").exists()
    assert figures(drive(operation)) == ("done", 300, 0, 0)


def test_two_workers(script: Script) -> None:
    """One that has lost the operation between two chunks ends, and says that it is not its own."""
    dead_alarms(Scripted, 300)
    operation = start()

    def overtake(at: Operation) -> None:
        if at.fence == 1:
            bulk_chunks.drive(at.pk, 1)

    assert bulk_chunks.drive(operation.pk, 0, watch=overtake) is None
    assert figures(bulk.get(operation.pk)) == ("done", 300, 0, 0)


def test_one_that_raises_fails_alone(script: Script) -> None:
    """What an object's own code raises is a failure with its error; the others of its chunk are done."""
    dead_alarms(Scripted, 30)

    def initialize(obj: Scripted) -> None:
        if obj.name.endswith("7"):
            raise ValueError("no seven")

    script.initialize = initialize
    operation = drive(start())
    assert figures(operation) == ("done", 27, 0, 3)
    assert {each["error"] for each in operation.failures} == {"ValueError: no seven"}
    assert {each["class"] for each in operation.failures} == {"tests.Scripted"}


def test_deleted_meanwhile_and_changed_meanwhile(script: Script) -> None:
    """What is gone, or matches no more, when its turn comes is skipped."""
    names = dead_alarms(Scripted, 10)
    operation = start()
    Scripted.objects.get_by_name(names[3]).delete()

    def initialize(obj: Scripted) -> None:
        Alarm.objects.filter(pk=obj.pk, object__name=names[5]).update(state="idle")

    script.initialize = initialize
    assert figures(drive(operation))[:2] == ("done", 9)
    assert Alarm.objects.filter(state="armed").count() == 9


def test_those_made_later_are_left_alone(script: Script) -> None:
    """It ends: objects made after it was asked are not its own, and one that dies again is not revived twice."""
    dead_alarms(Scripted, 5)
    operation = start()
    dead_alarms(Scripted, 5, first=5)

    def die_again(at: Operation) -> None:
        Alarm.objects.filter(state="armed").update(state="dead")

    bulk_chunks.drive(operation.pk, 0, watch=die_again)
    assert figures(bulk.get(operation.pk)) == ("done", 5, 0, 0)
    assert Alarm.objects.filter(state="dead").count() == 10


def test_two_at_once(script: Script) -> None:
    """Two operations on the same objects take their turns: each counts what it did, and skips what the other did."""
    dead_alarms(Scripted, 400)
    one, two = start(), start("discard")

    def other(at: Operation) -> None:
        if at.done == 200:
            drive(two)

    bulk_chunks.drive(one.pk, 0, watch=other)
    assert figures(bulk.get(two.pk))[1] == 200
    assert figures(bulk.get(one.pk)) == ("done", 200, 200, 0)
    assert Alarm.objects.filter(state="armed").count() == Alarm.objects.filter(state="idle").count() == 200


def test_a_class_that_is_gone(script: Script) -> None:
    """Cancel, discard and delete need no class; a verb that needs it fails for each such object, and says so."""
    names = dead_alarms(Scripted, 3)
    gone = ContentType.objects.create(app_label="shop", model="gone")
    make_of(gone, name__in=names)
    operation = drive(start(selection="state:dead"))
    assert figures(operation) == ("done", 0, 0, 3)
    assert "class" in operation.failures[0]["error"]
    assert figures(drive(start("discard", "state:dead"))) == ("done", 3, 0, 0)
    assert figures(drive(start("delete", "class:shop.gone"))) == ("done", 3, 0, 0)
    assert not Object.objects.exists()


def test_only_classes_that_the_user_may_change(script: Script) -> None:
    """Objects of other classes than those given are neither counted nor touched."""
    dead_alarms(Scripted, 3)
    dead_alarms(Grouped, 2)
    operation = start(selection="state:dead", kinds=[Grouped.kind_pk()])
    assert operation.total == 2
    assert figures(drive(operation)) == ("done", 2, 0, 0)
    assert set(Alarm.objects.filter(state="dead").values_list("object__kind", flat=True)) == {Scripted.kind_pk()}


def test_the_rate_is_kept(script: Script) -> None:
    """With a rate no more objects a second are done; a worker whose time is over leaves the rest to another one."""
    dead_alarms(Scripted, 40)
    operation = start(rate=20)
    before = durable_objects.now()
    assert figures(drive(operation)) == ("done", 40, 0, 0)
    assert durable_objects.now() - before >= timedelta(seconds=1)
    operation = start("discard", "class:tests.Scripted", rate=0.5)
    assert figures(drive(operation, seconds=1)) == ("running", 0, 1, 0)
    assert bulk.get(operation.pk).ask_at > durable_objects.now()  # type: ignore[operator]  # it runs


def test_the_log_has_each_object(script: Script) -> None:
    """The admin's log has one entry of the operation and one of each object, by the user, with the reason."""
    dead_alarms(Scripted, 3)
    user = User.objects.create_superuser("ada")
    operation = drive(start("discard", user=str(user.pk), reason="old orders"))
    assert operation.done == 3
    entries = LogEntry.objects.filter(user=user)
    assert entries.get(content_type=ContentType.objects.get_for_model(Operation)).object_id == str(operation.pk)
    texts = set(entries.filter(content_type=Scripted.kind_pk()).values_list("change_message", flat=True))
    assert texts == {f"Discarded (operation {operation.pk}: old orders)."}
    assert entries.count() == 4


def test_pause_resume_and_delete(script: Script) -> None:
    """Verbs on objects take also those that have no alarm."""
    for name in "abc":
        Counter.objects.get_by_name(name).add()
    of = "class:tests.Counter"
    assert figures(drive(start("pause", of, reason="prices", arguments={"lasts": "5m"}))) == ("done", 3, 0, 0)
    assert len(paused(durable_objects.now()).objects) == 3
    assert figures(drive(start("resume", of))) == ("done", 3, 0, 0)
    assert figures(drive(start("resume", of))) == ("done", 0, 3, 0)
    assert figures(drive(start("delete", f"{of} name:a*"))) == ("done", 1, 0, 0)
    assert Object.objects.count() == 2


def test_spread_by_a_hash(script: Script) -> None:
    """Spread, alarms are put off by parts of the time that their objects decide, evenly and the same each time."""
    names = dead_alarms(Scripted, 200)
    at = durable_objects.now() + HOUR
    Alarm.objects.update(state="armed", due_at=at, scheduled_at=at, retry_count=2)
    assert drive(start("spread", "class:tests.Scripted", arguments={"over": "1h"})).done == 200
    rows = list(Alarm.objects.select_related("object"))
    for row in rows:
        part = changes.share(("tests.Scripted", row.object.name))
        assert row.due_at is not None
        assert abs(row.due_at - (at + HOUR * part)) < timedelta(seconds=1)
        assert (row.scheduled_at, row.retry_count) == (at, 2)
    early = sum(row.due_at < at + HOUR / 2 for row in rows if row.due_at)
    assert 70 < early < 130
    assert len(names) == 200


def test_one_that_waits_for_another(script: Script) -> None:
    """An operation after another one starts once that is done."""
    dead_alarms(Scripted, 3)
    first = start("revive")
    second = start("cancel", "class:tests.Scripted", after=first)
    assert drive(second).state == "waiting"
    drive(first)
    assert figures(drive(second)) == ("done", 3, 0, 0)


def test_the_dispatcher_asks_again(
    script: Script, published: list[publisher.WakeUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker is asked at the commit; where none begins in time, or it is gone, the dispatcher asks again."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(bulk_operations, "_send", lambda pk, number, delay: asked.append((pk, number)))
    dead_alarms(Scripted, 3)
    operation = start()
    dispatcher.run_pass()
    assert asked == [(operation.pk, 0)]
    Operation.objects.update(ask_at=durable_objects.now())
    dispatcher.run_pass()
    dispatcher.run_pass()
    assert asked == [(operation.pk, 0)] * 2
    bulk.stop(operation)
    Operation.objects.update(ask_at=durable_objects.now())
    dispatcher.run_pass()
    assert len(asked) == 2


def test_many_are_left_to_the_dispatcher(
    script: Script, published: list[publisher.WakeUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few alarms are woken at once; of more than may be out at a time, no wake-up is sent but by the dispatcher."""
    monkeypatch.setattr(bulk_operations, "_send", None)
    dead_alarms(Scripted, 3)
    drive(start())
    assert len(published) == 3
    published.clear()
    monkeypatch.setitem(engine.__dict__, "MAX_OUT", 2)
    Alarm.objects.update(state="dead", wake_up_for=None)
    drive(start())
    assert published == []
    dispatcher.run_pass()
    assert published


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        (lambda: start("burn"), "choose one of run, move"),
        (lambda: start("move"), "give one of them"),
        (lambda: start("move", arguments={"by": "1m", "to": "2040-01-01T00:00:00+00:00"}), "give one of them"),
        (lambda: start("move", arguments={"to": "2040-01-01T00:00:00"}), "naive"),
        (lambda: start("spread"), "over is missing"),
        (lambda: start("spread", arguments={"over": "long"}), "not a span of time"),
        (lambda: start("spread", arguments={"over": "0s"}), "more than 0s"),
        (lambda: start("revive", arguments={"over": "3m"}), "it takes nothing"),
        (lambda: start(rate=0), "objects a second"),
        (lambda: start(selection="colour:red"), "colour"),
        (lambda: start(reason="\0"), "reason"),
    ],
)
def test_refuses(refused: Callable[[], object], says: str) -> None:
    """What cannot be meant is refused with what is allowed, and nothing is started."""
    with pytest.raises(DurableObjectError, match=says):
        refused()
    assert not Operation.objects.exists()


def test_a_reason_is_required_where_the_setting_says_so(settings: object) -> None:
    """With REQUIRE_REASON, what cannot be undone needs a reason, and nothing else does."""
    settings.DURABLE_OBJECTS = {"REQUIRE_REASON": True}  # type: ignore[attr-defined]  # pytest-django's
    with pytest.raises(InvalidInput, match="REQUIRE_REASON"):
        start("discard")
    assert start("discard", reason="old").reason == "old"
    assert start("revive").reason == ""


def test_a_selection_that_cannot_be_read_any_more_stops_it(script: Script) -> None:
    """Where code that is older or newer cannot do it, it stops, with the reason."""
    operation = start()
    Operation.objects.update(selection="colour:red")
    after = drive(operation)
    assert after.state == "stopped"
    assert "colour" in after.error


def test_verbs_of_apps() -> None:
    """An app adds a verb under a name of its own."""
    verb = bulk_verbs.get("revive")
    bulk_verbs.register(verb)
    with pytest.raises(ValueError, match="already"):
        bulk_verbs.register(bulk_verbs.BulkVerb("revive", "", "", "", lambda turn, operation: None))


def test_a_verb_of_a_class(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done to objects of the class and its subclasses, and to those alone to which there is something to do."""
    done: list[str] = []
    verb = bulk_verbs.BulkVerb(
        "count", "Count", "", "Counted", lambda turn, operation: done.append(turn.handle.name),
        of_alarms=False, of=Counter, narrow=lambda rows: rows.exclude(name="full"),
    )  # fmt: skip
    monkeypatch.setitem(bulk_verbs._verbs, "count", verb)
    for model, name in ((Counter, "a"), (LoudCounter, "b"), (Counter, "full"), (Scripted, "c")):
        model.objects.get_by_name(name).save()
    operation = start("count", "")
    assert bulk.sentence(operation).startswith(f"Count 2 {Counter._meta.verbose_name_plural} (")
    assert figures(drive(operation)) == ("done", 2, 0, 0)
    assert sorted(done) == ["a", "b"]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks no rows: set TEST_DATABASE_URL=postgresql://…")
def test_a_locked_object_does_not_hold_up_the_others(script: Script) -> None:
    """One that somebody else has locked is left out of its chunk, remembered, and done alone once it is free."""
    names = dead_alarms(Scripted, 20)
    busy, locked = Scripted.objects.get_by_name(names[4]), Event()
    operation = start()

    def hold() -> None:
        locked.set()
        await_that(lambda: len(Operation.objects.get().pending) == 1)

    with_lock = InThread(lambda: busy.run_exclusive(hold))
    await_event(locked)
    after = drive(operation)
    with_lock.result()
    assert (figures(after), after.pending) == (("done", 20, 0, 0), [])
