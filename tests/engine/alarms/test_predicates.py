"""Each state of an alarm is defined in two forms: they agree on every row, boundaries included."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db.models import BooleanField, Case, Q, When
from hypothesis import HealthCheck, Phase, given, settings, strategies

from durable_objects.alarms import backoff, predicates
from durable_objects.alarms.slot import Slot
from durable_objects.conf import engine
from durable_objects.tables import Alarm, Object
from tests.models import Scripted
from tests.support.examples import examples

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SPAN = timedelta(hours=1)
ROWS = 60
EXAMPLES = examples(15)  # each of so many rows
COLUMNS = ("state", "due_at", "schedule_due_at", "leased_until", "wake_up_for", "wake_ups_lost", "retry_count")

#: Every predicate, with the condition that says the same.
PAIRS: dict[str, tuple[Callable[..., bool], Callable[..., Any]]] = {
    name.removeprefix("is_"): (form, getattr(predicates, name.removeprefix("is_")))
    for name, form in inspect.getmembers(predicates, inspect.isfunction)
    if name.startswith("is_")
}

#: Spans at which something changes; each as it is, and a microsecond off.
_SPANS = [timedelta(0), SPAN, engine.HORIZON, *sorted({-backoff.lost_after(lost) for lost in range(7)})]
_MOMENTS = [NOW + span + timedelta(microseconds=off) for span in _SPANS for off in (0, -1, 1)]
MOMENTS = (
    strategies.none()
    | strategies.sampled_from(_MOMENTS)
    | strategies.integers(-1000, 5000).map(lambda seconds: NOW + timedelta(seconds=seconds))
)
SENT = MOMENTS | strategies.sampled_from([predicates.FORGOTTEN + timedelta(microseconds=off) for off in (-1, 0, 1)])
LOOKS = strategies.tuples(
    strategies.sampled_from(Alarm.State.values), MOMENTS, MOMENTS, MOMENTS, SENT,
    strategies.integers(0, 7), strategies.integers(0, 2),
)  # fmt: skip


@pytest.fixture
def pks() -> list[int]:
    """The keys of objects with an alarm, as an operator may find them."""
    kind = ContentType.objects.get_for_model(Scripted, for_concrete_model=False)
    objects = Object.objects.bulk_create(Object(kind=kind, name=str(number)) for number in range(ROWS))
    Alarm.objects.bulk_create(Alarm(object=obj, kind=kind) for obj in objects)
    return [obj.pk for obj in objects]


def given_what(form: Callable[..., Any], **values: object) -> dict[str, object]:
    """Those of the values that this form takes."""
    return {name: value for name, value in values.items() if name in inspect.signature(form).parameters}


def selected(condition: Q) -> Case:
    """Whether a row is selected by this condition."""
    return Case(When(condition, then=True), default=False, output_field=BooleanField())


@given(looks=strategies.tuples(*[LOOKS] * ROWS), consumed_to=MOMENTS)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
def test_both_forms_agree(pks: list[int], looks: tuple[tuple[Any, ...], ...], consumed_to: datetime | None) -> None:
    """A condition selects, from alarms and from objects, exactly the rows of which the predicate is true: as they are
    in the database, and as a turn's slot.
    """
    slots = {pk: Slot(pk, **dict(zip(COLUMNS, look, strict=True))) for pk, look in zip(pks, looks, strict=True)}
    columns = [{name: getattr(slot, name) for name in COLUMNS} for slot in slots.values()]
    Alarm.objects.bulk_update([Alarm(pk, **each) for pk, each in zip(pks, columns, strict=True)], COLUMNS)
    values = {"now": NOW, "span": SPAN, "consumed_to": consumed_to}
    taken = {name: given_what(predicate, **values) for name, (predicate, _) in PAIRS.items()}
    alarms, objects = Alarm.objects.all(), Object.objects.all()
    for name, (_, condition) in PAIRS.items():
        alarms = alarms.annotate(**{f"_{name}": selected(condition(**taken[name]))})
        objects = objects.annotate(**{name: selected(condition(**taken[name], at="alarm_row__"))})
    by_object = {row["pk"]: row for row in objects.values("pk", *PAIRS)}
    for row in alarms:
        for name, (predicate, _) in PAIRS.items():
            answers = (
                predicate(row, **taken[name]), predicate(slots[row.pk], **taken[name]),
                getattr(row, f"_{name}"), by_object[row.pk][name],
            )  # fmt: skip
            assert len(set(answers)) == 1, (name, answers, slots[row.pk])


def test_every_condition_has_a_predicate() -> None:
    """No state is defined in one form only."""
    public = {
        name
        for name, form in inspect.getmembers(predicates, inspect.isfunction)
        if form.__module__ == predicates.__name__ and name[0] != "_" and not name.startswith("is_")
        if "condition" not in inspect.signature(form).parameters  # what rewrites one has no answer of its own
    }
    assert public == set(PAIRS)
    assert len(PAIRS) > 10
