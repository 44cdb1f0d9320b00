"""What the admin of a class hides by its ``get_queryset`` is told by no page, also not in passing."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from batcher.circuit_breaker import waiting_for
from batcher.models import Batch, Batcher, Upstream
from durable_objects.operations import bulk, pauses
from durable_objects.tables import Alarm, AlarmRun, Entry, Object, Operation, Pause, Schedule
from durable_objects.testing import FakeClock, run_due_alarms
from reminders.models import Delivery, Digest, Plan, Reminder
from tests.admin_urls import site
from tests.models import Grouped, Script, Scripted
from tests.support.admin_pages import list_url, page_url, path_of, shape_of, text_of
from tests.support.many_alarms import dead_alarms

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.admin_urls")]

START = reverse("admin:durable_objects_operation_start", urlconf="tests.admin_urls")
ORIGIN = "https://upstream.example:443"
LED_TO = re.compile(r"(?:href|data-refresh|data-url)=\"([^\"#]*)")


def fail(obj: Scripted, info: object) -> None:
    """Fail with the object's name in the error."""
    raise ValueError(f"the card of {obj.name} was declined")


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch, script: Script, alarm_clock: FakeClock) -> Object:
    """One of two objects of each class with everything on it: its name, and all that it has, says "whisper"."""
    for model in (Scripted, Batcher, Reminder):
        page: Any = site.get_model_admin(model)
        rows = page.get_queryset
        monkeypatch.setattr(
            page, "get_queryset", lambda request, rows=rows: rows(request).filter(name__startswith="own")
        )
    script.alarm = fail
    for name in ("whisper", "own"):
        obj = Scripted.objects.get_by_name(name)
        obj.storage.put(f"key-of-{name}", f"value-of-{name}")
        obj.storage.set_alarm(timedelta(0))
        obj.schedules.set(f"daily-of-{name}", "scheduled", every=timedelta(days=1))
    run_due_alarms()
    Alarm.objects.filter(object__kind=Scripted.kind_pk()).update(state="dead", due_at=None)
    batcher = Batcher.objects.get_by_name("whisper-orders")
    batcher.add_item("whisper item")
    moments = dict.fromkeys(("sealed_at", "give_up_at", "finished_at"), alarm_clock.now())
    Batch.objects.create(batcher_id=batcher.pk, items_json='["whisper item"]', item_count=1, status="failed", **moments)
    Reminder.objects.get_by_name("whisper-tea").set_reminder("whisper tea", alarm_clock.now() + timedelta(hours=1))
    return Object.objects.get(name="whisper")


@pytest.fixture
def vic() -> Client:
    """A user who may see and change everything but users."""
    user = User.objects.create_user("vic", is_staff=True)
    user.user_permissions.set(Permission.objects.exclude(content_type__app_label="auth"))
    client = Client()
    client.force_login(user)
    return client


def found_on(client: Client, url: str) -> tuple[set[str], bool]:
    """Where a page leads, and whether it says "whisper" beside what was asked for."""
    answer = client.get(url)
    if answer.status_code == 302:
        return {answer["Location"]}, False
    assert answer.status_code < 500, url
    page = unescape(answer.content.decode())
    base = url.partition("?")[0]
    led = {base + each if each.startswith("?") else each for each in LED_TO.findall(page)}
    return led, "whisper" in page


@pytest.mark.parametrize("once", [path_of, pytest.param(shape_of, marks=pytest.mark.chaos)])
def test_no_page_tells(once: Callable[[str], object], hidden: Object, vic: Client, admin_user: User) -> None:
    """No page that can be reached tells a name, a value or an error of an object that is hidden, nor its history: each
    is looked at once, in the case that takes minutes once for each set of filters.
    """
    pauses.pause(hidden, reason="prices", by="ada")
    LogEntry.objects.create(
        user_id=admin_user.pk, content_type_id=hidden.kind_id, object_id=str(hidden.pk), object_repr=hidden.name,
        action_flag=CHANGE, change_message="Run now.",
    )  # fmt: skip
    failed = bulk.start("run", "class:tests.Scripted", by="ada")
    failures = [{"object": hidden.pk, "class": "tests.Scripted", "name": hidden.name, "error": "whisper"}]
    Operation.objects.filter(pk=failed.pk).update(failed=1, failures=failures)
    of_hidden = [f"{list_url(model)}?object={hidden.pk}" for model in (Entry, AlarmRun, Schedule)]
    of_hidden.append(f"{list_url(Batch)}?batcher={Object.objects.get(name='whisper-orders').pk}")
    to_see = ["/admin/", *of_hidden, f"{list_url(Alarm)}?state=all", page_url(Operation, failed.pk), list_url(Pause)]
    seen, tells = {once(url) for url in to_see}, []
    while to_see:
        url = to_see.pop(0)
        led, is_told = found_on(vic, url)
        tells += [url] * is_told
        for each in sorted(led):
            if each.startswith("/admin/") and "logout" not in each and once(each) not in seen:
                seen.add(once(each))
                to_see.append(each)
    assert tells == []
    assert "own" in text_of(vic, f"{list_url(Alarm)}?state=all")
    assert "the card of own was declined" in vic.get(f"{list_url(Alarm)}?state=dead").content.decode()
    assert "And 1 more" in text_of(vic, page_url(Operation, failed.pk))


def test_the_log_of_a_pause_names_no_object(hidden: Object, vic: Client, admin_client: Client) -> None:
    """Who may see pauses reads in the log that one of an object was lifted, and not of which."""
    pauses.pause(hidden, reason="prices", by="ada")
    page: Any = site.get_model_admin(Pause)
    request = admin_client.get(list_url(Pause)).wsgi_request
    page.log_deletions(request, Pause.objects.all())
    pauses.resume(hidden)
    people = text_of(vic, f"{reverse('admin:durable_objects_overview_panels')}?panel=people")
    assert "pause of an object" in people
    assert "whisper" not in people


def test_rows_of_apps_are_hidden_with_their_object(hidden: Object, vic: Client, alarm_clock: FakeClock) -> None:
    """Batches and deliveries of objects that are hidden are on no list, and have no page and no file."""
    reminder = Object.objects.get(name="whisper-tea")
    times: dict[str, Any] = dict.fromkeys(("occurrence", "planned_at"), alarm_clock.now())
    delivery = Delivery.objects.create(
        reminder=reminder, key=uuid.uuid4(), channel="mail", address="whisper", message="whisper", **times
    )
    for row in (Batch.objects.get(), delivery):
        assert "whisper" not in text_of(vic, list_url(type(row)))
        assert "whisper" not in text_of(vic, page_url(type(row), row.pk))
    assert vic.get(reverse("admin:batcher_batch_items", args=[Batch.objects.get().pk])).status_code == 404


def test_a_question_counts_nothing_that_is_hidden(hidden: Object, vic: Client) -> None:
    """How many are left out of an operation is not said of a class that shows some objects only: one could ask for a
    name, or for a value.
    """
    for selection in ("name:whisper", "value:value-of-whisper"):
        text = text_of(vic, f"{START}?verb=pause&selection={selection}")
        assert "left out" not in text
        assert "Pause 0 objects" in text


def test_a_group_of_errors_quotes_what_may_be_seen(hidden: Object, vic: Client) -> None:
    """In words an error is one of an object that the user may see, though others of its group are hidden."""
    dead_alarms(Grouped, 1, error="Traceback\nValueError: the card of ann was declined")
    group = Alarm.objects.get(object__name="whisper").error_group
    Alarm.objects.filter(state="dead").update(error_group=group)
    list_of = vic.get(f"{list_url(Alarm)}?q=error:{group}").content.decode()
    question = vic.get(f"{START}?verb=revive&selection=error:{group}").content.decode()
    for page in (list_of, question):
        assert "with an error like" in page
        assert "whisper" not in page


def test_pages_of_other_rows_name_nothing_that_is_hidden(hidden: Object, vic: Client) -> None:
    """An upstream's page names no batcher that is hidden, and a digest's no reminder."""
    batcher = Batcher.objects.get_by_name("whisper-orders")
    batcher.configure(upstream_url="https://upstream.example/in")
    Batch.objects.update(status="open", finished_at=None)
    Upstream.objects.create(origin=ORIGIN, state="open")
    assert waiting_for(ORIGIN) is not None
    Plan.objects.filter(object__name="whisper-tea").update(person="ann", put_off=Plan.DIGEST)
    digest = Digest.objects.get_by_name("ann")
    digest.storage.put("made", 1)
    for url in (
        page_url(Upstream, quote(ORIGIN)),
        page_url(Digest, Object.objects.get(name="ann").pk),
    ):
        answer = vic.get(url)
        assert answer.status_code == 200
        assert "whisper" not in answer.content.decode(), url
