"""Two people have the same page open: what one of them left as it was does not undo what the other one changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import Model
from django.test import Client
from django_celery_beat.models import PeriodicTask

from batcher.models import Batcher, BatcherSettings
from cleaner.models import CleanerSettings, PeriodicCleaner
from reminders.models import Plan, Recipient, Reminder
from tests.models import Account
from tests.support.admin_pages import form_of, page_url
from tests.support.row_of_each_model import row_of_each_model

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]


@pytest.fixture
def rows() -> dict[type[Model], Any]:
    """A row of every registered class, and an object with fields of its own."""
    account = Account.objects.create(name="ann", owner="ann")
    return row_of_each_model() | {Account: account}


def _disable(row: PeriodicTask) -> None:
    row.enabled = False
    row.save(update_fields=["enabled"])


def _move(row: Recipient) -> None:
    Recipient.objects.filter(pk=row.pk).update(email="new@example.com", time_zone="Asia/Tokyo")


#: By class: what somebody else does, what this user types, and what is stored afterwards by field.
Case = tuple[Callable[[Any], Any], dict[str, str], type[Model], dict[str, Any]]
CASES: dict[type[Model], Case] = {
    Recipient: (
        _move,
        {"quiet_hours": "22:00-07:00"},
        Recipient,
        {"quiet_hours": "22:00-07:00", "email": "new@example.com", "time_zone": "Asia/Tokyo"},
    ),
    Batcher: (
        lambda row: row.configure(max_items=5, gzip=True),
        {"settings-0-window": "00:00:20"},
        BatcherSettings,
        {"window": timedelta(seconds=20), "max_items": 5, "gzip": True},
    ),
    PeriodicCleaner: (
        lambda row: row.configure(max_age=timedelta(days=3)),
        {"settings-0-interval": "2h"},
        CleanerSettings,
        {"interval": timedelta(hours=2), "max_age": timedelta(days=3)},
    ),
    Reminder: (
        lambda row: row.edit_reminder(message="theirs", recurrence="FREQ=WEEKLY", urgent=True),
        {"person": "mine"},
        Plan,
        {"person": "mine", "message": "theirs", "recurrence": "FREQ=WEEKLY", "urgent": True},
    ),
    Account: (lambda row: row.deposit(5), {"owner": "bob"}, Account, {"owner": "bob", "balance": 5}),
    PeriodicTask: (_disable, {"description": "mine"}, PeriodicTask, {"description": "mine", "enabled": False}),
}


@pytest.mark.parametrize("model", CASES, ids=lambda model: model.__name__)
def test_what_was_left_as_it_was_changes_nothing(model: type[Model], admin_client: Client, rows: Any) -> None:
    """Saving changes the fields that the user changed; the others keep what was written while the page was open."""
    theirs, typed, table, expected = CASES[model]
    url = page_url(model, rows[model].pk)
    form = form_of(admin_client, url)
    theirs(rows[model])
    response = admin_client.post(url, form | {"_save": "Save"} | typed)
    assert response.status_code == 302, response.content.decode()[-3000:]
    row = table._default_manager.get(pk=rows[model].pk)
    assert {name: getattr(row, name) for name in expected} == expected


def test_a_page_that_is_shown_again_remembers(admin_client: Client, rows: Any) -> None:
    """A form that was refused still knows what it showed at first."""
    url = page_url(Recipient, rows[Recipient].pk)
    form = form_of(admin_client, url)
    _move(rows[Recipient])
    refused = admin_client.post(url, form | {"quiet_hours": "late"})
    assert "quiet_hours is" in refused.content.decode()
    again = form_of(admin_client, url, form | {"quiet_hours": "late"})
    assert again["email"] == ["a@example.com"]
    assert admin_client.post(url, again | {"quiet_hours": ""}).status_code == 302
    assert Recipient.objects.get(pk=rows[Recipient].pk).email == "new@example.com"


def test_a_field_can_be_emptied(admin_client: Client, rows: Any) -> None:
    """A field that showed something and comes empty is emptied; so it is by a page that does not say what it showed."""
    url, pk = page_url(Recipient, rows[Recipient].pk), rows[Recipient].pk
    assert admin_client.post(url, form_of(admin_client, url) | {"email": ""}).status_code == 302
    assert Recipient.objects.get(pk=pk).email == ""
    Recipient.objects.filter(pk=pk).update(email="a@example.com")
    assert admin_client.post(url, {"time_zone": "UTC", "email": ""}).status_code == 302
    assert Recipient.objects.get(pk=pk).email == ""
