"""What admin's pages keep to themselves: from who may only look, from the addresses of lists, from everybody."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import PeriodicTask

from batcher.models import Batch, Batcher, BatcherSettings
from durable_objects.admin import BaseAdmin, SettingsInline
from durable_objects.http.models import ApiToken
from durable_objects.tables import Alarm, AlarmRun, Entry, Object
from reminders.models import Delivery, Recipient, Reminder
from tests.support.admin_pages import choose, form_of, list_url, page_url, staff, text_of
from tests.support.row_of_each_model import CANARY, row_of_each_model, secrets_of

pytestmark = pytest.mark.django_db

REGISTERED = admin.site._registry
#: A column that is called so may hold what nobody is to read.
SOUNDS_SECRET = re.compile(r"secret|token|password|digest|headers|_url$|feed")
#: And those that do not, whatever they are called.
NO_SECRET = {PeriodicTask: {"headers"}, Delivery: {"digest"}, Recipient: {"digest_window"}}


ASKED = "?o=" + ".".join(map(str, range(1, 12)))


@pytest.fixture
def rows() -> dict[type[Model], Any]:
    """A row of every registered class, with secrets in it."""
    return row_of_each_model()


def onlooker() -> Client:
    """A user who may look at everything, and change nothing."""
    codes = Permission.objects.filter(codename__startswith="view_").values_list("content_type__app_label", "codename")
    return staff([f"{app}.{code}" for app, code in codes], "onlooker")


def pages_of(client: Client, model: type[Model], row: Any, choices: int | None) -> dict[str, str]:
    """The list, the list by each of so many choices of each of its filters, and the pages of one row, by address."""
    listed = client.get(list_url(model))
    urls = [page_url(model, quote(row.pk), page) for page in ("change", "history", "delete")]
    for spec in listed.context["cl"].filter_specs:
        urls += [list_url(model) + choice["query_string"] for choice in [*spec.choices(listed.context["cl"])][:choices]]
    urls += [f"{list_url(model)}?object={row.pk}", f"{list_url(model)}?batcher={row.pk}", f"{list_url(model)}?q=s"]
    return {list_url(model): listed.content.decode()} | {url: client.get(url).content.decode() for url in urls}


@pytest.mark.parametrize(
    "choices", [pytest.param(2, marks=pytest.mark.slow), pytest.param(None, marks=pytest.mark.chaos)]
)
def test_who_may_only_look_sees_no_secret(rows: dict[type[Model], Any], choices: int | None) -> None:
    """On no page of any class does a user with every view permission find a secret of any row: by two choices of each
    filter, or by all, which takes minutes.
    """
    client, secrets = onlooker(), secrets_of(rows)
    pages = {url: page for model in REGISTERED for url, page in pages_of(client, model, rows[model], choices).items()}
    assert len(pages) > 100
    assert [(url, secret) for url, page in pages.items() for secret in secrets if secret in page] == []


@pytest.mark.slow
def test_who_may_change_sees_none_that_is_never_shown(rows: dict[type[Model], Any], admin_client: Client) -> None:
    """Only a calendar's address is shown, to who may renew it; every other secret can be typed, and read by nobody."""
    never = [secret for secret in secrets_of(rows) if "calendar" not in secret]
    urls = [url for model in REGISTERED for url in (list_url(model), page_url(model, quote(rows[model].pk)))]
    pages = {url: admin_client.get(url).content.decode() for url in urls}
    assert [(url, secret) for url, page in pages.items() for secret in never if secret in page] == []


def test_every_secret_is_tried(rows: dict[type[Model], Any]) -> None:
    """Each column of a registered class, or of settings beside one, that sounds secret has a canary in it above."""
    tables = {model: rows[model] for model in REGISTERED} | {BatcherSettings: BatcherSettings.objects.get()}
    inlines = {
        inline.model for each in REGISTERED.values() for inline in each.inlines if issubclass(inline, SettingsInline)
    }
    assert inlines - tables.keys() <= {inline for inline in inlines if not _sounding(inline)}
    untried = [
        (model.__name__, name)
        for model, row in tables.items()
        for name in _sounding(model) - NO_SECRET.get(model, set())
        if not any(secret in str(getattr(row, name)) for secret in secrets_of(rows))
    ]
    assert untried == [("Recipient", "feed_version")]  # its canary is the address that is made of it


def _sounding(model: type[Model]) -> set[str]:
    return {field.name for field in model._meta.concrete_fields if SOUNDS_SECRET.search(field.name)}


def test_every_class_of_ours_has_the_base() -> None:
    """Each registered class that is no other project's own has the base that keeps secrets."""
    others = {"auth"}
    strangers = {
        model._meta.label
        for model, each in REGISTERED.items()
        if not isinstance(each, BaseAdmin) and model._meta.app_label not in others
    }
    schedules = ("Clocked", "Crontab", "Interval", "Solar")
    assert strangers == {f"django_celery_beat.{kind}Schedule" for kind in schedules}


def test_who_may_only_look_is_offered_nothing(rows: dict[type[Model], Any]) -> None:
    """No page of a row has a button for who may not use it: none that saves or does something; all may find keys."""
    client, button = onlooker(), re.compile(r'<button(?![^>]*form="do-find")|<input[^>]*type="submit"')
    bodies = {
        model: client.get(page_url(model, quote(rows[model].pk)), follow=True).content.decode() for model in REGISTERED
    }
    contents = {model: body.partition('id="content"')[2].partition('id="footer"')[0] for model, body in bodies.items()}
    assert all(contents.values())
    assert [model.__name__ for model, content in contents.items() if button.search(content)] == []


ORACLES = [
    (Recipient, "webhook_secret__regex=^whsec"),
    (Recipient, "webhook_secret__startswith=whsec"),
    (Recipient, "webhook_url__contains=bob"),
    (Recipient, "email=a@example.com"),
    (Entry, "value__contains=c4n4ry"),
    (Entry, "key__startswith=a"),
    (Entry, "object__name__contains=a"),
    (ApiToken, "digest__startswith=0"),
    (Batch, "items_json__contains=c4n4ry"),
    (Batch, "status__regex=f"),
    (Batch, "batcher__alarm_row__last_error__contains=a"),
    (Delivery, "answer__contains=a"),
    (AlarmRun, "error__contains=a"),
    (Alarm, "last_error__contains=a"),
    (Object, "name__contains=a"),
    (Batcher, "alarm_row__last_error__contains=a"),
    (Reminder, "id__gt=3"),
    (PeriodicTask, "kwargs__contains=a"),
    (PeriodicTask, "interval__every__gt=3"),
]


def test_an_address_asks_only_what_the_list_offers(rows: Any) -> None:
    """A list cannot be narrowed by what none of its filters names: not even whether something is found is shown."""
    client = onlooker()
    answered = [query for model, query in ORACLES if client.get(f"{list_url(model)}?{query}").status_code != 400]
    assert answered == []


def test_a_list_is_sorted_by_what_it_offers(rows: Any) -> None:
    """Whatever order is asked for, a list whose columns do not offer to sort by them stays in its own."""
    client = onlooker()
    for model, each in REGISTERED.items():
        if isinstance(each, BaseAdmin) and each.sortable_by is not None:
            orders = [
                client.get(list_url(model) + query).context["cl"].queryset.query.order_by for query in ("", ASKED)
            ]
            own, asked = ({str(name).lstrip("-") for name in order} for order in orders)
            assert asked <= own | {"name"} if each.sortable_by else asked == own, model


@pytest.mark.parametrize("model", [Object, Batcher])
def test_storage_is_for_who_may_see_entries(model: type[Model], rows: dict[type[Model], Any]) -> None:
    """Keys and values, and runs with their tracebacks, stand on an object's page for who may see those lists."""
    label = model._meta.label_lower.replace(".", ".view_")
    stored, ran = f"{CANARY}-stored", f"{CANARY}-traceback"
    Alarm.objects.filter(pk=rows[model].pk).update(last_error=f'Traceback\n  File "a"\n    {ran}\nValueError: no')
    may = {"nothing more": [], "entries": ["durable_objects.view_entry"], "runs": ["durable_objects.view_alarmrun"]}
    for who, more in may.items():
        page = text_of(staff([label, *more], who), page_url(model, rows[model].pk))
        assert (stored in page, ran in page) == (who == "entries", who == "runs"), who
        assert "Last error: ValueError: no" in page
        assert ("Storage" in page, "Last runs" in page) == (who == "entries", who == "runs"), who


def test_what_another_list_has_is_for_who_may_see_that_list(rows: dict[type[Model], Any]) -> None:
    """Batches stand on a batcher's page, and deliveries on a reminder's, for who may see batches and deliveries."""
    pages = [
        (Batcher, "batcher.view_batch", "Last batches", "503"),
        (Reminder, "reminders.view_delivery", "Deliveries", "webhook"),
    ]
    for model, permission, title, text_shown in pages:
        label = model._meta.label_lower.replace(".", ".view_")
        for number, more in enumerate([[], [permission]]):
            client = staff([label, *more], f"{title} {number}")
            page = text_of(client, page_url(model, rows[model].pk))
            assert [text in page for text in (title, text_shown)] == [bool(more)] * 2, (title, more)
            if model is Batcher:
                listed = text_of(client, list_url(Batcher))
                assert ("Last batch" in listed, text_shown in listed) == (bool(more), bool(more))


ADDRESSES = [(Batcher, "settings-0-upstream_url"), (Recipient, "webhook_url")]


@pytest.mark.parametrize(("model", "name"), ADDRESSES, ids=lambda each: getattr(each, "__name__", ""))
def test_a_password_in_an_address_is_kept_unseen(
    model: type[Model], name: str, admin_client: Client, rows: dict[type[Model], Any]
) -> None:
    """An address is edited with a mask for its user and password: left so it stays, half changed it is refused."""
    table, field = (BatcherSettings, "upstream_url") if model is Batcher else (model, name)
    url = page_url(model, rows[model].pk)
    stored = table._default_manager.values_list(field, flat=True)
    before = stored.get()
    form = form_of(admin_client, url)
    (shown,) = form[name]
    assert shown.startswith("https://••••••@example.com/")
    other = "settings-0-max_items" if model is Batcher else "email"
    assert admin_client.post(url, form | {other: "7" if model is Batcher else "b@example.com"}).status_code == 302
    assert stored.get() == before
    page = admin_client.post(url, form | {name: "https://••••••@evil.example/in"})
    assert "Enter the whole address, with user and password" in page.content.decode()
    assert stored.get() == before
    assert admin_client.post(url, form | {name: "https://bob:new@example.com/in"}).status_code == 302
    assert stored.get() == "https://bob:new@example.com/in"


def test_who_may_change_the_batcher_or_the_settings_alone(rows: dict[type[Model], Any]) -> None:
    """Settings are edited by who may change both the batcher and them: with less one sees no secret and no field."""
    halves = [
        ["batcher.view_batcher", "batcher.change_batchersettings"],
        ["batcher.change_batcher", "batcher.view_batchersettings"],
        ["batcher.view_batcher", "batcher.add_batchersettings", "batcher.view_batchersettings"],
    ]
    for number, half in enumerate(halves):
        client = staff(half, f"half {number}")
        page = client.get(page_url(Batcher, rows[Batcher].pk)).content.decode()
        assert [secret for secret in secrets_of(rows) if secret in page] == []
        assert "New signing secret" not in page
        assert "New headers" not in page


BEATS = ["disable_tasks", "enable_tasks", "toggle_tasks", "run_tasks"]


def test_who_may_only_look_stops_no_dispatcher(rows: dict[type[Model], Any]) -> None:
    """The actions of periodic tasks are neither offered to nor obeyed from who may not change them."""
    client, task = staff(["django_celery_beat.view_periodictask"]), rows[PeriodicTask]
    page = client.get(list_url(PeriodicTask)).content.decode()
    before = PeriodicTask.objects.values().get(pk=task.pk)
    for action in BEATS:
        assert action not in page
        choose(client, PeriodicTask, action, [task.pk])
    assert PeriodicTask.objects.values().get(pk=task.pk) == before
    assert not LogEntry.objects.filter(user__username="vic").exists()


def test_who_stops_the_dispatcher_is_on_record(rows: dict[type[Model], Any]) -> None:
    """Each action of periodic tasks is written to the log of its row, with who and what."""
    client, task = staff(["django_celery_beat.change_periodictask"], "olga"), rows[PeriodicTask]
    for number, action in enumerate(BEATS[:3], 1):
        assert choose(client, PeriodicTask, action, [task.pk]).status_code == 302
        assert LogEntry.objects.filter(object_id=str(task.pk), user__username="olga").count() == number
    task.refresh_from_db()
    assert not task.enabled
    history = text_of(client, reverse("admin:django_celery_beat_periodictask_history", args=[task.pk]))
    assert "Disable selected tasks." in history


def test_the_task_that_is_chosen_is_taken(admin_client: Client, rows: dict[type[Model], Any]) -> None:
    """A task chosen from the list of registered ones takes the place of the one that was typed."""
    url = page_url(PeriodicTask, rows[PeriodicTask].pk)
    form = form_of(admin_client, url) | {"regtask": ["durable_objects.ring"], "description": ["new"]}
    assert admin_client.post(url, form).status_code == 302
    row = PeriodicTask.objects.get(pk=rows[PeriodicTask].pk)
    assert (row.task, row.description, row.name) == ("durable_objects.ring", "new", "shop")


def test_a_pop_up_asks_for_what_its_key_may_point_to(monkeypatch: pytest.MonkeyPatch, rows: Any) -> None:
    """The rows that a foreign key is limited to can be asked for, as its widget does, and no others."""
    monkeypatch.setattr(Recipient._meta, "related_fkey_lookups", [{"email__startswith": "a"}])
    client = onlooker()
    for query, status in {"email__startswith=a": 200, "email__startswith=b": 400, "email__contains=a": 400}.items():
        assert client.get(f"{list_url(Recipient)}?{query}").status_code == status, query
