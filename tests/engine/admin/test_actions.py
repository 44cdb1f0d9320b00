"""What operators do to objects in admin: a question first, one turn each, reported and logged."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from durable_objects import ObjectBusy
from durable_objects.admin import actions
from durable_objects.tables import Alarm, AlarmRun, Entry, Object
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Account, Counter, Impatient, Script, Scripted
from tests.support.admin_pages import choose, confirm, fail, list_url, page_url, park, scripted, staff, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]

HOUR = timedelta(hours=1)
VERBS = ["fire_now", "cancel_alarms", "revive"]


@pytest.fixture(autouse=True)
def _script(script: Script) -> None:
    """Every test has a script of its own."""


def dead(name: str) -> Scripted:
    """An object whose alarm is dead."""
    obj = scripted(name, HOUR)
    error = '  File "shop.py", line 7, in alarm\nValueError: no'
    Alarm.objects.filter(pk=obj.pk).update(state="dead", due_at=None, retry_count=6, last_error=error)
    return obj


@pytest.mark.parametrize("model", [Scripted, Alarm, Object])
def test_fire_now(
    model: type[Scripted | Alarm | Object], admin_client: Client, alarm_clock: FakeClock, script: Script
) -> None:
    """After a yes the alarm is due now, and runs once; before it nothing happened."""
    obj = scripted("one", HOUR)
    assert "Run these alarms now?" in choose(admin_client, model, "fire_now", [obj.pk]).content.decode()
    assert run_due_alarms() == []
    assert confirm(admin_client, model, "fire_now", [obj.pk]) == ["Set to run now: one."]
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
    assert script.infos[0].scheduled_at == alarm_clock.now() + HOUR


@pytest.mark.parametrize("model", [Scripted, Alarm])
@pytest.mark.parametrize("verb", ["fire_now", "move_alarms"])
def test_an_old_question_makes_no_second_run(
    verb: str, model: type[Scripted | Alarm], admin_client: Client, alarm_clock: FakeClock, script: Script
) -> None:
    """An alarm that ran while the question stood open is not set again by the yes; one that was not set is."""
    obj, idle, other = scripted("one", timedelta(0)), scripted("idle"), scripted("other", HOUR)
    Scripted.objects.get_by_name("idle").storage.set_alarm(HOUR)
    idle.storage.delete_alarm()
    asked = choose(admin_client, model, verb, [obj.pk, idle.pk, other.pk]).content.decode()
    sent = re.findall(r'name="was_set" value="([^"]*)"', asked)
    assert sent == [f"{obj.pk} {other.pk}"]
    assert len(run_due_alarms()) == 1
    messages = confirm(admin_client, model, verb, [obj.pk, idle.pk], was_set=sent[0], later="5m")
    assert "Not done for one: its alarm has run, or was cancelled, since the question was asked" in messages
    assert obj.storage.get_alarm() is None
    assert idle.storage.get_alarm() is not None


@pytest.mark.parametrize("model", [Scripted, Alarm])
def test_cancel(model: type[Scripted | Alarm], admin_client: Client, alarm_clock: FakeClock) -> None:
    """After a yes no alarm is set any more; where none was, that is reported and not logged."""
    obj = scripted("one", HOUR)
    assert confirm(admin_client, model, "cancel_alarms", [obj.pk]) == ["Alarm cancelled: one."]
    assert obj.storage.get_alarm() is None
    assert confirm(admin_client, model, "cancel_alarms", [obj.pk]) == ["Not done for one: there was nothing to do"]
    assert LogEntry.objects.count() == 1


@pytest.mark.parametrize("model", [Scripted, Alarm])
def test_revive(model: type[Scripted | Alarm], admin_client: Client, alarm_clock: FakeClock, script: Script) -> None:
    """A dead alarm runs again with all its retries; one that is not dead is refused with the reason."""
    obj, armed = dead("gone"), scripted("armed", HOUR)
    done, refused = confirm(admin_client, model, "revive", [obj.pk, armed.pk])
    assert done == "Revived: gone."
    assert refused.startswith("Not done for armed: ")
    assert "is not dead but armed" in refused
    script.alarm = fail
    assert [run.retry_count for run in run_due_alarms()] == [0]


def test_each_object_is_judged_by_itself(admin_client: Client, alarm_clock: FakeClock, script: Script) -> None:
    """A refusal or a crash of one object is reported with its name, and the others are done all the same."""

    def crash(obj: Scripted) -> None:
        if obj.name == "broken":
            raise RuntimeError("initialize() is <broken>")

    names = ["a", "broken", "gone", "z"]
    objs = [dead(name) if name == "gone" else scripted(name, HOUR) for name in names]
    script.initialize = crash
    messages = confirm(admin_client, Scripted, "fire_now", [obj.pk for obj in objs])
    assert messages[0] == "Set to run now: a, z."
    assert messages[1] == "Not done for broken: RuntimeError: initialize() is <broken>"
    assert messages[2].startswith("Not done for gone: the alarm of 'gone' is dead")
    assert LogEntry.objects.values_list("object_repr", flat=True).order_by("object_repr").distinct().count() == 2


def test_what_was_done_is_in_the_history(admin_client: Client, alarm_clock: FakeClock) -> None:
    """Each success is on record with who and what, and shown in the object's history on each of its pages."""
    obj = scripted("one", HOUR)
    confirm(admin_client, Alarm, "fire_now", [obj.pk])
    confirm(admin_client, Scripted, "cancel_alarms", [obj.pk])
    for model in [Scripted, Object, Alarm]:
        text = text_of(admin_client, page_url(model, obj.pk, "history"))
        assert "admin Alarm cancelled." in text
        assert "admin Set to run now." in text


@pytest.mark.usefixtures("alarm_clock")
@pytest.mark.parametrize(("verb", "done"), [("cancel_alarms", "Alarm cancelled"), ("delete_objects", "Deleted")])
def test_what_cannot_be_undone_has_a_reason(
    verb: str, done: str, admin_client: Client, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """The question asks why; the answer is in the object's history and in the log, and required where a setting says
    so.
    """
    obj = scripted("one", HOUR)
    assert "Reason" in choose(admin_client, Scripted, verb, [obj.pk]).content.decode()
    settings.DURABLE_OBJECTS = {"REQUIRE_REASON": True}
    page = choose(admin_client, Scripted, verb, [obj.pk], confirmed="yes", reason=" ").content.decode()
    assert "This field is required." in page
    assert obj.storage.get_alarm() is not None
    assert confirm(admin_client, Scripted, verb, [obj.pk], reason="old orders") == [f"{done}: one."]
    assert LogEntry.objects.get().change_message == f"{done} (old orders)."
    assert f"tests.Scripted 'one': {done[:1].lower()}{done[1:]} by hand, by admin: old orders" in caplog.messages


def test_a_page_offers_what_fits(admin_client: Client, alarm_clock: FakeClock) -> None:
    """The buttons of a page are those that its alarm can bear; they ask too, and lead back to the page."""
    idle, armed, gone = scripted("idle"), scripted("armed", HOUR), dead("gone")
    silent = Counter.objects.get_by_name("no alarm()")
    silent.save()
    lost = park(state="armed", scheduled_at=alarm_clock.now(), due_at=alarm_clock.now() + HOUR)
    offers = {idle: ["fire_now"], armed: ["fire_now", "cancel_alarms"], gone: ["cancel_alarms", "revive"], silent: []}
    for obj, fits in offers.items():
        page = admin_client.get(page_url(type(obj), obj.pk)).content.decode()
        assert [verb for verb in VERBS if f'value="{verb}"' in page] == fits
    page = admin_client.get(page_url(Object, lost.pk)).content.decode()
    assert [verb for verb in VERBS if f'value="{verb}"' in page] == ["cancel_alarms"]
    question = choose(admin_client, Scripted, "revive", [gone.pk], from_page="yes").content.decode()
    assert f'href="{page_url(Scripted, gone.pk)}"' in question
    done = choose(admin_client, Scripted, "revive", [gone.pk], from_page="yes", confirmed="yes")
    assert done["Location"] == page_url(Scripted, gone.pk)


def test_the_list_is_as_it_was_afterwards(admin_client: Client, alarm_clock: FakeClock) -> None:
    """The question remembers the list's filters, and the answer leads back to them."""
    obj = scripted("one", HOUR)
    url = f"{list_url(Scripted)}?state=armed&q=on"
    question = admin_client.post(url, {"action": "fire_now", "_selected_action": [obj.pk], "index": "0"})
    assert 'name="filters" value="state=armed&amp;q=on"' in question.content.decode()
    done = choose(admin_client, Scripted, "fire_now", [obj.pk], confirmed="yes", filters="state=armed&q=on")
    assert done["Location"] == url


def test_the_question_names_what_it_is_about(admin_client: Client, alarm_clock: FakeClock) -> None:
    """The question lists each chosen object with its class and state, and holds no more than it can carry out."""
    objs = [scripted("one", HOUR), dead("gone")]
    text = choose(admin_client, Object, "fire_now", [obj.pk for obj in objs]).content.decode()
    for expected in ["one", "gone", "tests.Scripted", "Runs in 1h.", "Its retries are used up."]:
        assert expected in text


def test_a_question_is_bounded(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """Of a whole list that was chosen, a verb that no operation has covers a bounded number, and says so."""
    monkeypatch.setattr(actions, "AT_MOST", 5)
    Object.objects.bulk_create(Object(kind_id=Scripted.kind_pk(), name=str(number)) for number in range(8))
    first = Object.objects.order_by("pk")[0]
    with django_assert_max_num_queries(20):
        question = choose(admin_client, Object, "copy_objects", [first.pk], select_across="1").content.decode()
    assert question.count('name="_selected_action"') == 5
    assert "More than 5 were chosen: only the first 5 are taken." in question


MAY = {
    "view only": (["tests.view_scripted"], []),
    "change": (["tests.view_scripted", "tests.change_scripted"], VERBS),
    "delete": (["tests.view_scripted", "tests.delete_scripted"], ["delete_objects"]),
    "another class": (["tests.view_scripted", "tests.change_counter"], []),
}


@pytest.mark.parametrize("who", MAY)
def test_the_class_says_who_may(who: str, alarm_clock: FakeClock) -> None:
    """Verbs are offered to, and obeyed from, only those with the class's change permission (delete: the delete one)."""
    permissions, may = MAY[who]
    user, obj = staff(permissions), scripted("one", HOUR)
    page = user.get(list_url(Scripted)).content.decode()
    assert [verb for verb in [*VERBS, "delete_objects"] if f'value="{verb}"' in page] == may
    before = Alarm.objects.values().get()
    for verb in {*VERBS, "delete_objects"} - set(may):
        choose(user, Scripted, verb, [obj.pk], confirmed="yes")
    if not may:
        assert "Alarm" in (text := text_of(user, page_url(Scripted, obj.pk)))
        assert "Fire now" not in text
        assert Alarm.objects.values().get() == before
        assert not LogEntry.objects.exists()
    assert user.get(page_url(Scripted, obj.pk, "delete")).status_code == (200 if who == "delete" else 403)


def test_the_alarm_list_asks_each_class(alarm_clock: FakeClock) -> None:
    """In the list of all alarms one is changed only by who may change its class, whether that has a page or not."""
    user = staff(["durable_objects.view_alarm", "tests.change_impatient"])
    mine, other = Impatient.objects.get_by_name("mine"), scripted("other", HOUR)
    mine.storage.set_alarm(HOUR)
    done, refused = confirm(user, Alarm, "fire_now", [mine.pk, other.pk])
    assert done == "Set to run now: mine."
    assert refused == "Not done for other: you may not change objects of tests.Scripted"
    assert other.storage.get_alarm() == Alarm.objects.get(pk=other.pk).due_at == alarm_clock.now() + HOUR
    assert Alarm.objects.get(pk=mine.pk).due_at == alarm_clock.now()
    viewer = staff(["durable_objects.view_alarm", "durable_objects.change_alarm"], "eve")
    assert 'name="action"' not in viewer.get(list_url(Alarm)).content.decode()


def test_of_a_class_that_is_gone_alarms_are_cancelled_and_objects_deleted(
    admin_client: Client, alarm_clock: FakeClock
) -> None:
    """What is of a class unknown here cannot run; its alarm is cancelled and it is deleted, by list and by page."""
    lost, other = (park(name, state="armed", due_at=alarm_clock.now() + HOUR) for name in ("lost", "other"))
    for verb in ("fire_now", "revive"):
        (message,) = confirm(admin_client, Object, verb, [lost.pk])
        assert message == "Not done for lost: it needs the class, ghost.phantom (unknown here)"
    assert Alarm.objects.get(pk=lost.pk).due_at == alarm_clock.now() + HOUR
    for model in (Object, Alarm):
        page = text_of(admin_client, page_url(model, lost.pk))
        assert "Cancel alarm" in page
        assert "Fire now" not in page
    assert confirm(admin_client, Alarm, "cancel_alarms", [lost.pk, other.pk]) == ["Alarm cancelled: lost, other."]
    assert {row.state for row in Alarm.objects.all()} == {"idle"}
    assert "This cannot be undone." in text_of(admin_client, page_url(Object, lost.pk, "delete"))
    assert confirm(admin_client, Object, "delete_objects", [lost.pk], from_page="yes") == ["Deleted: lost."]
    assert confirm(admin_client, Object, "delete_objects", [other.pk]) == ["Deleted: other."]
    assert not Object.objects.exists()
    assert LogEntry.objects.count() == 4


def test_a_class_that_is_gone_keeps_its_permissions(alarm_clock: FakeClock) -> None:
    """Who may not delete objects of a class may not after it is gone; the permissions that are left of it decide."""
    lost = park(state="armed", due_at=alarm_clock.now() + HOUR)
    kind = ContentType.objects.get(app_label="ghost")
    Permission.objects.create(content_type=kind, codename="change_phantom", name="Can change phantom")
    user = staff(["durable_objects.view_object", "tests.change_scripted", "tests.delete_scripted"])
    for verb, what in (("cancel_alarms", "change"), ("delete_objects", "delete")):
        (refused,) = confirm(user, Object, verb, [lost.pk])
        assert refused == f"Not done for lost: you may not {what} objects of ghost.phantom (unknown here)"
    assert user.get(page_url(Object, lost.pk, "delete")).status_code == 403
    granted = staff(["durable_objects.view_object", "tests.change_scripted", "ghost.change_phantom"], "eve")
    assert confirm(granted, Object, "cancel_alarms", [lost.pk]) == ["Alarm cancelled: lost."]


@pytest.mark.parametrize("model", [Scripted, Object])
def test_delete(model: type[Scripted | Object], admin_client: Client, alarm_clock: FakeClock) -> None:
    """After a yes the object is gone with entries, alarm and history, by its own delete(), and that is on record."""
    obj, kept = scripted("one", timedelta(0)), scripted("kept")
    obj.storage.put_many({str(number): number for number in range(300)})
    run_due_alarms()
    page = admin_client.get(page_url(model, obj.pk, "delete"))
    assert "This cannot be undone." in page.content.decode()
    assert len(page.content) < 30_000
    assert confirm(admin_client, model, "delete_objects", [obj.pk], from_page="yes") == ["Deleted: one."]
    assert [row.pk for row in Object.objects.all()] == [kept.pk]
    assert [model for model in (Entry, Alarm, AlarmRun) if model._default_manager.exists()] == []
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.object_repr, entry.action_flag) == (str(obj.pk), "one", DELETION)


def test_delete_takes_own_tables_along(admin_client: Client) -> None:
    """An object with a table of its own is deleted there too."""
    account = Account.objects.get_by_name("ann")
    account.deposit(5)
    confirm(admin_client, Object, "delete_objects", [account.pk])
    assert not Account.objects.exists()
    assert not Object.objects.exists()


def test_what_is_gone_is_reported(admin_client: Client) -> None:
    """A row that vanished between the list and the answer is reported, and not created again."""
    (message,) = confirm(admin_client, Scripted, "fire_now", [4711])
    assert message == "None of the chosen rows exists any more."
    assert admin_client.get(page_url(Scripted, 4711, "delete")).status_code == 404
    assert not Object.objects.exists()


def test_a_busy_object_is_reported(admin_client: Client, alarm_clock: FakeClock, script: Script) -> None:
    """An object that cannot be locked in time is a message, not an error page."""

    def busy(obj: Scripted) -> None:
        raise ObjectBusy("could not lock tests.scripted 'one' within LOCK_TIMEOUT (5 s)")

    obj = scripted("one", HOUR)
    script.initialize = busy
    (message,) = confirm(admin_client, Scripted, "fire_now", [obj.pk])
    assert message == "Not done for one: could not lock tests.scripted 'one' within LOCK_TIMEOUT (5 s)"
    assert User.objects.count() == 1


def test_a_list_has_its_verbs_in_place_of_djangos_delete(admin_client: Client) -> None:
    """Django's own action would read every row of an object and is no turn of it; a pop-up that picks one has none."""
    scripted("one")
    for query, offered in (("", ["fire_now", "delete_objects"]), ("?_popup=1", [])):
        page = admin_client.get(f"{list_url(Scripted)}{query}").content.decode()
        verbs = ("fire_now", "delete_objects", "delete_selected")
        assert [verb for verb in verbs if f'value="{verb}"' in page] == offered
