"""Digests in admin, by the command and over HTTP."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from ninja.testing import TestClient

from durable_objects import InvalidInput, InvalidName
from durable_objects.testing import FakeClock
from reminders import digests
from reminders.api import router
from reminders.models import Digest, Recipient, Reminder
from tests.support.admin_pages import confirm, list_url, page_url, text_of
from tests.support.passing_time import pass_time
from tests.support.sent_messages import Sent

pytestmark = [pytest.mark.django_db, pytest.mark.urls("project.urls")]

HOUR = timedelta(hours=1)


@pytest.fixture
def waiting(alarm_clock: FakeClock) -> list[Reminder]:
    """Two reminders that wait in ada's digest."""
    Recipient.objects.create(name="ada", digest_window=HOUR)
    reminders = [Reminder.objects.get_by_name(name) for name in ("milk", "tea")]
    for each in reminders:
        each.set_reminder(each.name, alarm_clock.now(), person="ada")
    pass_time(alarm_clock)
    return reminders


def test_a_recipients_window_in_admin(admin_client: Client) -> None:
    """It is chosen from a menu, and one that was chosen elsewhere is kept when the page is saved."""
    ada = Recipient.objects.create(name="ada")
    url = page_url(Recipient, ada.pk)
    form = {"time_zone": "UTC", "initial-time_zone": "UTC", "quiet_hours": "", "email": "", "webhook_url": ""}
    assert admin_client.post(url, {**form, "digest_window": "3:00:00"}).status_code == 302
    ada.refresh_from_db()
    assert ada.digest_window == 3 * HOUR
    Recipient.objects.update(digest_window=timedelta(minutes=7))
    page = admin_client.get(url).content.decode()
    assert '<option value="0:07:00" selected>7m</option>' in page
    data = {**form, "digest_window": "0:07:00", "initial-digest_window": "0:07:00", "email": "a@example.org"}
    assert admin_client.post(url, data).status_code == 302
    ada.refresh_from_db()
    assert (ada.digest_window, ada.email) == (timedelta(minutes=7), "a@example.org")
    assert (
        "is not one of the available choices" in admin_client.post(url, {**form, "digest_window": "9"}).content.decode()
    )
    assert admin_client.post(url, {**form, "digest_window": "", "initial-digest_window": "0:07:00"}).status_code == 302
    ada.refresh_from_db()
    assert ada.digest_window is None


def test_what_waits_in_admin(admin_client: Client, waiting: list[Reminder], alarm_clock: FakeClock, sent: Sent) -> None:
    """A digest's page names what waits, a reminder's says that it does, and "Send now" sends it."""
    digest = Digest.objects.get(name="ada")
    assert "ada armed 2" in text_of(admin_client, list_url(Digest))
    assert "milk, tea" in text_of(admin_client, page_url(Digest, digest.pk))
    page = text_of(admin_client, page_url(Reminder, waiting[0].pk))
    assert "in digest Next: " in page
    assert "milk in digest" in text_of(admin_client, f"{list_url(Reminder)}?plan=in_digest")
    assert admin_client.get("/admin/reminders/digest/add/").status_code == 403
    confirm(admin_client, Digest, "send_now", [digest.pk])
    pass_time(alarm_clock)
    assert len(sent) == 1
    assert "In a digest." in text_of(admin_client, page_url(Reminder, waiting[0].pk))
    assert text_of(admin_client, f"{list_url(Reminder)}?plan=in_digest").count("milk") == 0
    assert "ada idle 0" in text_of(admin_client, list_url(Digest))


def test_the_list_of_digests_counts_in_one_query(
    admin_client: Client, alarm_clock: FakeClock, django_assert_max_num_queries: Any
) -> None:
    """However many digests a page has, what waits in them is one query."""
    for person in ("ada", "bob", "eve"):
        Recipient.objects.create(name=person, digest_window=HOUR)
        Reminder.objects.get_by_name(person).set_reminder("tea", alarm_clock.now(), person=person)
    pass_time(alarm_clock)
    with django_assert_max_num_queries(100) as seen:
        text = text_of(admin_client, list_url(Digest))
    assert [f"{person} armed 1" in text for person in ("ada", "bob", "eve")] == [True] * 3
    assert sum('"reminders_plan"' in query["sql"] for query in seen.captured_queries) == 1


@pytest.mark.parametrize(
    ("options", "waits"), [({}, True), ({"urgent": "on"}, False), ({"skip_if_late": "300"}, False)]
)
def test_a_preview_says_what_waits_for_a_digest(admin_client: Client, *, options: dict[str, str], waits: bool) -> None:
    """Whoever sets a reminder sees that it will wait, unless it is urgent or not worth having so late."""
    Recipient.objects.create(name="ada", digest_window=HOUR)
    form = {"name": "tea", "message": "tea", "local_time": "2030-03-30T12:30", "time_zone": "UTC", "channels": ["log"]}
    data = {**form, "repeats": "", "person": "ada", "_preview": "Preview", **options}
    page = admin_client.post("/admin/reminders/reminder/add/", data).content.decode()
    assert "12:30" in page
    assert ("Then waits for the digest of ada, 1h at most." in page) == waits


@pytest.mark.usefixtures("waiting")
def test_the_command(alarm_clock: FakeClock) -> None:
    """It shows and chooses a window, and takes one away; a reminder that waits says so."""

    def answer(*arguments: str) -> Any:
        out = io.StringIO()
        call_command("reminders", *arguments, "--json", stdout=out)
        return json.loads(out.getvalue())

    sent_at = (alarm_clock.now() + HOUR).isoformat()
    assert answer("digest", "ada") == {"person": "ada", "window": "1:00:00", "waiting": 2, "sent_at": sent_at}
    assert answer("digest", "ada", "30m")["window"] == "0:30:00"
    assert answer("show", "tea")["state"] == "digest"
    assert (answer("digest", "ada", "off")["window"], Recipient.objects.get().digest_window) == ("off", None)
    for wrong in (["ada", "soon"], ["ada", "10s"], ["eve", "1h"]):
        with pytest.raises(CommandError, match=r"Allowed: "):
            call_command("reminders", "digest", *wrong)


@pytest.mark.usefixtures("waiting")
def test_over_http(alarm_clock: FakeClock) -> None:
    """GET shows, PUT chooses; what is out of bounds, no fixed time, or of nobody who was entered, is refused."""
    client = TestClient(router)
    sent_at = (alarm_clock.now() + HOUR).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    shown = client.get("/people/ada/digest").json()
    assert (shown.pop("sent_at")[:23], shown) == (sent_at[:23], {"person": "ada", "window": 3600, "waiting": 2})
    assert client.put("/people/ada/digest", json={"window": 1800}).json()["window"] == 1800
    assert client.put("/people/ada/digest", json={"window": None}).json()["window"] is None
    assert Recipient.objects.get().digest_window is None
    assert client.put("/people/ada/digest", json={"window": "P1M"}).status_code == 422
    assert client.put("/people/ada/digest", json={}).status_code == 422
    for wrong in ("a\0b", "n" * 513):
        with pytest.raises(InvalidName):
            digests.standing(wrong)
        with pytest.raises(InvalidName):
            digests.choose_window(wrong, HOUR)
    for person, window in (("ada", 59), ("ada", "P8D"), ("eve", "PT1H")):
        with pytest.raises(InvalidInput, match=r"Allowed: "):
            client.put(f"/people/{person}/digest", json={"window": window})
    assert client.get("/people/eve/digest").json() == {"person": "eve", "window": None, "waiting": 0, "sent_at": None}
