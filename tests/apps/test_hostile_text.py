"""Names, messages and errors of others on terminals and in logs: nothing steers, nothing forges a line."""

from __future__ import annotations

import io
import json
import logging
import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from batcher.models import Batch, Batcher
from durable_objects.escaping import one_line, visible
from durable_objects.logs import INDENT, LineFormatter, OneLine, get_logger
from durable_objects.tables import Alarm
from durable_objects.testing import FakeClock, run_due_alarms
from reminders.channels import Message
from reminders.models import Delivery, Reminder
from tests.models import Script, Scripted
from tests.support.every_command import VERBS, run
from tests.support.row_of_each_model import row_of_each_model
from tests.support.upstream import Answer, Upstream

HOSTILE = "a\x1b[2J\x9b31m\r\nFORGED\u2028FORGED\u2029\x85FORGED\u202eb\x7f\x08\x0b\x0c"
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
READS = ("list", "show", "explain", "export", "doctor", "receipt")
MORE = ["reminders list --person a", "reminders set a a 2036-06-01T09:00+02:00 --dry-run", "objects show a a",
        "tokens revoke a", "alarms list --state dead", "batcher configure a secret=a", "cleaner start a --model a",
        "reminders snooze a a", "objects call batcher.Batcher a a", "batcher replay a a",
        "objects import a", "batcher show a a a", "alarms a", "alarms explain batcher.Batcher a --a"]  # fmt: skip


def flaws(text: str) -> list[str]:
    """What in this output steers a terminal, or is a line that somebody else has begun."""
    return STEERS.findall(text) + [line for line in text.split("\n") if line.startswith("FORGED")]


@pytest.fixture
def rows() -> None:
    """Hostile text wherever people, upstreams and receivers can put it."""
    made, now = row_of_each_model(HOSTILE, HOSTILE), timezone.now()
    batcher, reminder = made[Batcher], made[Reminder]
    for number, status in enumerate(("failed", "set_aside")):
        Batch.objects.create(
            batcher_id=batcher.pk, items_json="[1]", item_count=1, first_item=17 + number, attempts=1, sealed_at=now,
            next_try_at=now, give_up_at=now, status=status, answer=HOSTILE,
        )  # fmt: skip
    Delivery.objects.create(
        reminder_id=reminder.pk, key=uuid.uuid4(), channel="log", address=HOSTILE, message=HOSTILE, planned_at=now,
        error=HOSTILE, status="failed",
    )  # fmt: skip
    dead = Scripted.objects.get_by_name(f"{HOSTILE}dead")
    dead.storage.put(HOSTILE, HOSTILE)
    dead.storage.set_alarm(timedelta(hours=1))
    Alarm.objects.filter(pk=dead.pk).update(state="dead", last_error=f"ValueError: {HOSTILE}", due_at=None)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_every_output_of_every_command(rows: None) -> None:
    """Text and JSON, answers and errors: what steers is escaped, and so are line breaks in names and texts."""
    verbs = [verb for verb in [*VERBS, *MORE] if not verb.startswith("up")]
    for verb in sorted(verbs, key=lambda verb: verb.split()[1] not in READS):
        for is_json in (False, True):
            said = run([HOSTILE if part == "a" else part for part in verb.split()], is_json=is_json)
            assert flaws(f"{said['out']}{said['err']}") == [], said
            assert isinstance(said["code"], int | None), said
            assert not is_json or all(json.loads(line) for line in str(said["out"]).splitlines()), said


@pytest.fixture
def written() -> Iterator[list[str]]:
    """What every logger writes, by the formatter of the project, and what our own do by Python's."""
    texts: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(LineFormatter("{asctime} {name}: {message}", style="{").format(record))
            if record.name.partition(".")[0] in {"durable_objects", "batcher", "cleaner", "reminders", "project"}:
                texts.append(logging.Formatter("{asctime} {name}: {message}", style="{").format(record))

    keeper, root = Keeper(), logging.getLogger()
    level = root.level
    root.addHandler(keeper)
    root.setLevel(logging.DEBUG)
    yield texts
    root.removeHandler(keeper)
    root.setLevel(level)


def judge(written: list[str]) -> None:
    """Nothing in it steers, and whatever does not begin with a time is indented."""
    assert written
    for text in written:
        first, *others = text.split("\n")
        assert STEERS.findall(text) == [], text
        assert re.match(r"\d{4}-\d\d-\d\d ", first), text
        assert [line for line in others if not line.startswith(INDENT)] == [], text


@pytest.fixture
def script() -> Iterator[Script]:
    """What every ``Scripted`` object does in this test."""
    Scripted.script = Script()
    yield Scripted.script
    Scripted.script = Script()


@pytest.mark.django_db
def test_every_logger(
    alarm_clock: FakeClock, upstream: Upstream, written: list[str], settings: Any, script: Script
) -> None:
    """What batches, reminders, cleaners and dead alarms log of hostile names, messages, answers and errors."""
    settings.BATCHER = {"BREAKER_FAILURES": 1}
    row_of_each_model(HOSTILE, HOSTILE)

    def fail(obj: Scripted, info: Any) -> None:
        raise ValueError(HOSTILE)

    script.alarm = fail
    Scripted.objects.get_by_name(HOSTILE).storage.set_alarm(alarm_clock.now())
    for url in ("", upstream.url):
        batcher = Batcher.objects.get_by_name(HOSTILE + url)
        batcher.configure(upstream_url=url)
        batcher.add_item(HOSTILE)
    upstream.default = Answer(500, body=HOSTILE.encode())
    Reminder.objects.get_by_name(HOSTILE).set_reminder(HOSTILE, alarm_clock.now(), channels=["log"])
    for seconds in (10, 2, 4, 8, 16, 32, 64, 3600):
        alarm_clock.advance(timedelta(seconds=seconds))
        run_due_alarms()
    names = " ".join(written)
    for said in ("REMINDER: ", "no upstream", "now open", "is dead after", "circuit breaker", "rows removed"):
        assert said in names
    judge(written)


def test_the_subject_of_a_mail() -> None:
    """It is one line that steers nothing."""
    title = Message("key", "tea", HOSTILE, timezone.now()).title
    assert (STEERS.findall(title), "\n" in title, title[:1]) == ([], False, "a")


def test_a_logger_of_another_library(written: list[str]) -> None:
    """The project's formatter does it for the records of whoever writes them, tracebacks and notes too."""
    try:
        error = ValueError(HOSTILE)
        error.add_note(HOSTILE)
        raise error
    except ValueError:
        logging.getLogger("celery.app.trace").exception("Task %s failed:\n%s", HOSTILE, HOSTILE, stack_info=True)
        get_logger("batcher.of.the.tests").exception("it is %s", HOSTILE)
    get_logger("batcher.of.the.tests").warning("%s is not %d", HOSTILE, 5)
    get_logger("batcher.of.the.tests").warning(HOSTILE)
    judge(written)


def test_a_record_that_needs_nothing_is_left_as_it_is() -> None:
    """Services for errors group records by their message and its arguments."""
    record = logging.LogRecord("x", logging.INFO, "", 1, "%s is %d", ("größer \N{HOT BEVERAGE}", 5), None)
    assert OneLine().filter(record)
    assert (record.msg, record.args) == ("%s is %d", ("größer \N{HOT BEVERAGE}", 5))


@given(st.text())
def test_what_is_escaped_says_the_same_in_json(text: str) -> None:
    """A JSON text is the same JSON afterwards; nothing in it steers, and one line is one."""
    for written in (json.dumps(text), json.dumps(text, ensure_ascii=False)):
        assert json.loads(visible(written)) == text
    assert STEERS.findall(visible(text)) == []
    assert len(io.StringIO(one_line(text)).readlines()) <= 1
