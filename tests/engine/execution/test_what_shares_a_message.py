"""Which wake-ups share a message, and what that says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import current_app
from celery.app.routes import prepare

from durable_objects import tasks
from durable_objects.database import clock
from durable_objects.delivery import dispatcher, publisher
from durable_objects.delivery.publisher import Shares, WakeUp
from durable_objects.tables import Alarm
from tests.engine.execution.conftest import Messages
from tests.models import Grouped, Scripted

pytestmark = pytest.mark.django_db(transaction=True)

LIMIT = timedelta(minutes=1)


@pytest.mark.parametrize("shares", [Shares.MESSAGE, Shares.TRANSACTION])
def test_message_names_the_kinds_of_its_objects(monkeypatch: pytest.MonkeyPatch, shares: Shares) -> None:
    """In a header, beside the time until which the worker keeps it; a message of a group has none, as ever."""
    sent: list[tuple[Any, dict[str, Any]]] = []
    monkeypatch.setattr(tasks.fire_alarms, "apply_async", lambda args, **options: sent.append((args, options)))
    soon = datetime.now(UTC) + timedelta(seconds=0.5)
    wake_ups = [WakeUp(number, 7, soon, 0, LIMIT, 40 + number, shares=shares) for number in (1, 2)]
    tasks._publish_several(wake_ups)
    [(args, options)] = sent
    assert args == ([(1, 7), (2, 7)], 60.0)
    kinds = {tasks.KINDS: [41, 42]} if shares is Shares.MESSAGE else {}
    assert options["headers"] == {"eta": options["headers"]["eta"]} | kinds
    assert options["soft_time_limit"] > 60


def by_function(name: str, args: Any, *rest: Any, **options: Any) -> dict[str, Any] | None:
    """A project's own router, which looks at the object's number."""
    return {"queue": f"shard-{args[0] % 2}"}


@pytest.mark.parametrize(
    "routes",
    [(by_function,), ({"durable_objects.fire_alarm": {"queue": "elsewhere"}},), (f"{__name__}.by_function",)],
    ids=["function", "by name", "function by its name"],
)
def test_each_is_sent_alone_where_its_project_routes_it_so(monkeypatch: pytest.MonkeyPatch, routes: Any) -> None:
    """Several share a message only where it goes to the queue that each would go to."""
    sent: list[tuple[Any, ...]] = []
    amqp: Any = current_app.amqp
    monkeypatch.setattr(amqp, "_rtable", prepare(routes))
    monkeypatch.setitem(amqp.__dict__, "router", amqp.Router())
    monkeypatch.setattr(tasks.fire_alarm, "apply_async", lambda args, **options: sent.append(args))
    now = datetime.now(UTC)
    tasks._publish_several([WakeUp(number, 7, now, 0, LIMIT, 40, shares=Shares.MESSAGE) for number in (1, 2)])
    assert sent == [(1, 7, False), (2, 7, False)]


@pytest.mark.parametrize(("due", "sizes"), [(1, {1}), (10, {1}), (63, {1}), (64, {2}), (500, {15, 5})])
def test_burst_is_spread_over_messages(messages: Messages, due: int, sizes: set[int]) -> None:
    """A few alarms have a message each, for as many threads; of many, each takes some."""
    Scripted.objects.set_alarms({str(number): timedelta(0) for number in range(due)})
    assert {len(message) for message in messages} == sizes
    assert sum(map(len, messages)) == due
    assert len({wake_up.object_id for message in messages for wake_up in message}) == due


def test_what_shares_a_message(messages: Messages, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only first runs of classes without limits that are due together and may take as long."""
    monkeypatch.setattr(publisher, "FEWEST_MESSAGES", 1)

    def wake_up(number: int, **changes: Any) -> WakeUp:
        plain: dict[str, Any] = {"shares": Shares.MESSAGE, "retries": 0, "time_limit": LIMIT, "at": now} | changes
        return WakeUp(number, 1, kind_id=1, **plain)

    now = clock.now()
    differing: list[dict[str, Any]] = [
        {}, {}, {"time_limit": 2 * LIMIT}, {"at": now + timedelta(seconds=9)}, {"shares": Shares.NOTHING},
        {"shares": Shares.TRANSACTION}, {},
    ]  # fmt: skip
    wake_ups = [wake_up(number, **changes) for number, changes in enumerate(differing)]
    publisher.publish(wake_ups, publisher.Budget())
    assert sorted([each.object_id for each in message] for message in messages) == [[0, 1, 6], [2], [3], [4], [5]]


@pytest.mark.parametrize(
    ("model", "attributes", "shares"),
    [
        (Scripted, {}, Shares.MESSAGE),
        (Grouped, {}, Shares.TRANSACTION),
        (Scripted, {"alarm_rate": 1.0}, Shares.NOTHING),
        (Scripted, {"alarm_concurrency": 1}, Shares.NOTHING),
    ],
)
def test_a_class_says_what_its_wake_ups_share(
    messages: Messages, monkeypatch: pytest.MonkeyPatch, model: Any, attributes: dict[str, Any], shares: Shares
) -> None:
    """Ordinary ones a message, those of groups a transaction too, those with limits nothing; nor do retries."""
    for name, value in attributes.items():
        monkeypatch.setattr(model, name, value)
    model.objects.get_by_name("a").storage.set_alarm(timedelta(seconds=5))
    ((wake_up,),) = messages
    assert (wake_up.shares, wake_up.kind_id) == (shares, model.kind_pk())
    if shares is Shares.MESSAGE:
        Alarm.objects.update(retry_count=1, wake_up_for=None)
        dispatcher.run_pass()
        assert messages[-1][0].shares is Shares.NOTHING
