"""What the pictures show: a shop whose card gateway is away, at ten in the morning, and who does what about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.urls import reverse

from batcher.models import Batch, Batcher
from durable_objects import now
from durable_objects.alarms.error_groups import fingerprint
from durable_objects.models import DurableObject
from durable_objects.operations import bulk, bulk_chunks, pauses
from durable_objects.tables import Alarm, AlarmRun, Dispatcher, Object, Operation, Process
from reminders.models import Recipient

if TYPE_CHECKING:
    from playwright.sync_api import Page

#: Of examples/shop, a project of its own, which the type checker does not see beside this one.
SHOP: Any = apps.get_app_config("shop").models_module
Cart, Reindex, Trial = SHOP.Cart, SHOP.Reindex, SHOP.Trial

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
TRACE = 'Traceback (most recent call last):\n  File "/srv/shop/models/{}.py", line 41, in alarm\n{}'
GATEWAY = TRACE.format("trial", "GatewayGone: the card gateway answered 503 after 30 s, charge {}")
DECLINED = TRACE.format("trial", "CardDeclined: the card of customer {} was declined")
MAIL = TRACE.format("cart", "SMTPServerDisconnected: Connection unexpectedly closed by mail.example.com:587")


@dataclass(frozen=True)
class Scene:
    """A picture: the page down to the end of ``until``, a selector of CSS, after what ``then`` does on it."""

    name: str
    path: str
    until: str = "#content"
    then: Callable[[Page], None] | None = None


def scenes() -> Iterator[Scene]:
    """Fill the site, and yield each picture once what it shows is there."""
    _processes()
    _late()
    for number, (error, model) in enumerate([(GATEWAY, Trial), (DECLINED, Trial), (MAIL, Cart)]):
        _dead(model, (640, 37, 12)[number], error, f"{'customer' if model is Trial else 'guest'}-{number}")
    _runs()
    _ahead()
    yield Scene("object", _page(_cart()), ".do-log", _unfold)
    operation = bulk.start(
        "revive", f"class:shop.Trial state:dead error:{fingerprint(GATEWAY)}",
        by="ada", reason="the gateway is back", user=str(User.objects.get().pk),
    )  # fmt: skip
    bulk_chunks.drive(operation.pk, 0, seconds=0)
    bulk_chunks.drive(operation.pk, 1, seconds=0)
    begun = now() - 8 * SECOND
    Operation.objects.filter(pk=operation.pk).update(asked_at=begun - SECOND, started_at=begun)
    yield Scene("operation", reverse("admin:durable_objects_operation_change", args=[operation.pk]), ".do-operation")
    yield Scene("overview", reverse("admin:app_list", args=["durable_objects"]), "#do-processes")
    yield Scene("batch", reverse("admin:batcher_batch_change", args=[_batch().pk]), ".do-items")
    Recipient.objects.create(name="ada", time_zone="Europe/London", quiet_hours="22:00-07:00")
    yield Scene("reminder", reverse("admin:reminders_reminder_add"), ".do-ahead", _weekly)
    yield Scene(
        "search",
        reverse("admin:durable_objects_alarm_changelist") + "?q=class:shop.Trial+error:declined",
        "#result_list tr:nth-child(8)",
    )


def _processes() -> None:
    """Two workers, of which one is full, and a dispatcher."""
    at = now()
    for process, threads, busy, taken in [
        ("web-1:4711", 8, 8, 212),
        ("web-2:982", 8, 8, 198),
        ("beat-1:77", None, 0, 0),
    ]:
        Process.objects.create(
            process=process, code_version="2026.11.4", code_since=at - 26 * MINUTE, started_at=at - 26 * MINUTE,
            last_seen_at=at - SECOND, threads=threads, busy=busy, busy_since=at - 4 * MINUTE if busy else None,
            taken_a_minute=taken,
        )  # fmt: skip
    Dispatcher.objects.create(process="beat-1:77", started_at=at - 26 * MINUTE, last_pass_at=at - SECOND)


def _armed(model: type[DurableObject], name: str, due: timedelta) -> Alarm:
    obj = model.objects.get_by_name(name)
    obj.storage.set_alarm(due)
    return Alarm.objects.get(object_id=obj.pk)


def _late() -> None:
    """What waits: trials for a thread, the search index for somebody who paused them."""
    at = now()
    for number in range(31):
        slot = _armed(Trial, f"late-{number}", HOUR)
        Alarm.objects.filter(pk=slot.pk).update(due_at=at - 4 * MINUTE + number * SECOND, scheduled_at=at - 4 * MINUTE)
    slot = _armed(Reindex, "products", HOUR)
    Alarm.objects.filter(pk=slot.pk).update(due_at=at - 2 * HOUR)
    pauses.pause(Reindex, by="grace", reason="the search server moves until noon")


def _dead(model: type[DurableObject], number: int, error: str, prefix: str) -> None:
    at, kind = now(), model.kind_pk()
    named = [Object(kind_id=kind, name=f"{prefix}{n:03}@example.com") for n in range(number)]
    rows = Object.objects.bulk_create(named)
    texts = [error.format(7100 + n) for n in range(number)]
    given: dict[str, Any] = {"state": "dead", "retry_count": 6, "error_group": fingerprint(error)}
    Alarm.objects.bulk_create(
        Alarm(object=row, kind_id=kind, last_error=text, **given) for row, text in zip(rows, texts, strict=True)
    )
    _record(
        (row, at - (3 + n % 50) * MINUTE, SECOND, SECOND, "dead", text, 6)
        for n, (row, text) in enumerate(zip(rows, texts, strict=True))
        if n % 9 == 0 or number < 100
    )


def _runs() -> None:
    """An hour of runs that went well."""
    at = now()
    rows = [Object.objects.get(kind_id=Trial.kind_pk(), name=f"late-{n}") for n in range(31)]
    _record(
        (
            rows[n % 31],
            at - HOUR + n * 6 * SECOND,
            timedelta(milliseconds=40 + n % 90),
            timedelta(milliseconds=180),
            "succeeded",
            "",
            0,
        )
        for n in range(560)
    )


def _record(runs: Any) -> None:
    AlarmRun.objects.bulk_create(
        AlarmRun(
            object_id=row.pk, scheduled_at=at, due_at=at, wake_up_for=at, picked_up_at=at + late * 2 / 3,
            started_at=at + late, ended_at=at + late + took, retry_count=retry, fence=retry + 1, outcome=outcome,
            error=error,
        )
        for row, at, late, took, outcome, error, retry in runs
    )  # fmt: skip


def _ahead() -> None:
    """What comes due within the hour: many at one time, as a campaign was planned for a full hour."""
    for number in range(60):
        _armed(Cart, f"guest-9{number:02}@example.com", (7 * number % 59 + 1) * MINUTE)
    for number in range(40):
        slot = _armed(Cart, f"guest-8{number:02}@example.com", 30 * MINUTE)
        Alarm.objects.filter(pk=slot.pk).update(due_at=(now() + 30 * MINUTE).replace(second=0, microsecond=0))


def _cart() -> Any:
    """A cart that was tried, failed once, and was put off by somebody."""
    cart = Cart.objects.get_by_name("ada@example.com")
    for product in ("Green tea", "Green tea", "Teapot"):
        cart.add(product)
    at, row = now(), Object.objects.get(pk=cart.pk)
    _record([
        (row, at - 50 * MINUTE, timedelta(milliseconds=90), timedelta(milliseconds=240), "succeeded", "", 0),
        (row, at - 26 * HOUR + 6 * SECOND, timedelta(milliseconds=310), 2 * SECOND, "succeeded", "", 2),
        (row, at - 26 * HOUR + 2 * SECOND, timedelta(seconds=1.6), timedelta(seconds=3), "failed", MAIL, 1),
        (row, at - 26 * HOUR, timedelta(milliseconds=45), timedelta(seconds=5), "failed", MAIL, 0),
    ][::-1])  # fmt: skip
    LogEntry.objects.create(
        user=User.objects.get(), content_type_id=Cart.kind_pk(), object_id=str(cart.pk), object_repr=cart.name,
        action_flag=CHANGE, change_message="Revived: the mail server is back.",
    )  # fmt: skip
    return cart


def _page(obj: DurableObject) -> str:
    return reverse("admin:shop_cart_change", args=[obj.pk])


def _unfold(page: Page) -> None:
    page.locator(".do-runs details").nth(2).locator("summary").first.click()


def _batch() -> Batch:
    """A batch that the upstream took at its fourth try."""
    batcher, at = Batcher.objects.get_by_name("orders"), now()
    batcher.add_item({"order": 4714, "total": "5.10"})
    items = '[{"order": 4711, "total": "18.90"}, {"order": 4712, "total": "7.20"}, {"order": 4713, "total": "64.00"}]'
    tries: list[dict[str, Any]] = [
        {"status": 503, "text": "Service Unavailable: the gateway is away", "ms": 212},
        {"text": "the upstream gave no answer", "ms": 10_004, "unknown": True},
        {"status": 207, "text": "2 of 3 taken", "ms": 95},
    ]
    history = [
        {"what": "try", "at": (at - 20 * MINUTE + n * (n + 2) * 30 * SECOND).isoformat(), "number": n + 1, **tried}
        for n, tried in enumerate(tries)
    ]
    return Batch.objects.create(
        batcher_id=batcher.pk, status="set_aside", items_json=items, item_count=3, first_item=0, attempts=3, failures=3,
        status_code=207, answer="2 of 3 taken", outcomes={"1": {"status": 422, "error": "order 4712 is unknown"}},
        sealed_at=at - 20 * MINUTE - SECOND, next_try_at=at + 12 * MINUTE, give_up_at=at + 23 * HOUR, history=history,
    )  # fmt: skip


def _weekly(page: Page) -> None:
    """Fill in a weekly reminder by boxes, and look at what comes."""
    page.fill("#id_name", "standup")
    page.fill("#id_message", "Stand-up in five minutes\nThe notes are in the usual place.")
    page.fill("#id_local_time", "2027-03-22T09:25")
    page.select_option("#id_time_zone", "Europe/Berlin")
    page.select_option("#id_repeats", label="Every week")
    page.get_by_label("Mon").check()
    page.get_by_label("Thu").check()
    page.fill("#id_person", "ada")
    page.get_by_role("button", name="Preview").first.click()
    page.locator(".do-ahead li").first.wait_for()
