"""A hundred receivers that let their answers drip, and alarms that have nothing to do with them."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress

import pytest

from tests.chaos import stage, verdicts
from tests.support.site_processes import Site

pytestmark = [pytest.mark.chaos, pytest.mark.services("postgresql")]

RECEIVERS = 100
SECONDS_PER_BYTE = 5.0
#: CHAOS_DRIP_SECONDS=300 for the longest wait in five minutes.
SECONDS = float(os.environ.get("CHAOS_DRIP_SECONDS") or "45")
#: Nobody waits for a deadline, which is 15 s. docs/guides/production.md: a second; the rest is the busy machine's.
BOUND = 15.0

_SET = """
import json
from durable_objects import now
from reminders.models import Recipient, Reminder
for number, url in enumerate(json.loads({urls!r})):
    person = f"person {{number}}"
    secret = "whsec_c2VjcmV0LW9mLXRoZS10ZXN0cy1vbmx5"
    Recipient.objects.update_or_create(name=person, defaults={{"webhook_url": url, "webhook_secret": secret}})
    Reminder.objects.get_by_name(f"{turn} {{number}}").set_reminder("x", now(), channels=["webhook"], person=person)
"""
_WAITS = """
    SELECT extract(epoch FROM started_at - scheduled_at)::float
    FROM durable_objects_alarmrun run JOIN durable_objects_object ON object_id = durable_objects_object.id
    WHERE name LIKE 'unrelated %%'
"""
_DELIVERED = "SELECT count(*) FROM reminders_delivery WHERE status = 'delivered'"
_TRIED = "SELECT count(*), count(*) FILTER (WHERE attempts > 0), max(attempts) FROM reminders_delivery"


@contextmanager
def receivers(answers_at_once: int) -> Iterator[list[str]]:
    """Their addresses. Each answers its first requests at once, so many, and of the others a byte now and then."""
    left: dict[int, int] = {}
    ready: queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Event, list[int]]] = queue.SimpleQueue()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            is_prompt = left.setdefault(port, answers_at_once) > 0
            left[port] -= 1
            if is_prompt:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()
            for byte in b"" if is_prompt else b"HTTP/1.1 200 OK\r\nX-Long: " + b"." * 1000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(SECONDS_PER_BYTE)
        writer.close()

    async def serve() -> None:
        over = asyncio.Event()
        async with AsyncExitStack() as stack:
            servers = [
                await stack.enter_async_context(await asyncio.start_server(receive, "127.0.0.1", 0))
                for _ in range(RECEIVERS)
            ]
            ports = [server.sockets[0].getsockname()[1] for server in servers]
            ready.put((asyncio.get_running_loop(), over, ports))
            await over.wait()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    loop, over, ports = ready.get(timeout=10)
    try:
        yield [f"http://127.0.0.1:{port}/" for port in ports]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)


@pytest.mark.parametrize(
    ("answers_at_once", "rounds"), [(0, 0), (1, 1), (9, 0)], ids=["always", "once they are known as quick", "never"]
)
def test_they_hold_up_nobody_else(
    redis_broker: stage.Broker, site_on: Callable[..., Site], say: Callable[[str], None], *,
    answers_at_once: int, rounds: int,
) -> None:  # fmt: skip
    """On a worker of 8 threads an unrelated alarm is hardly later than it is where none of them drips (never)."""
    site = site_on(redis_broker, DISPATCH_EVERY=1, HISTORY_PER_OBJECT=1000)
    stage.dispatcher(site)
    site.worker(pool="threads", concurrency=8)
    with receivers(answers_at_once) as urls:
        for turn in range(rounds):
            site.execute(_SET.format(urls=json.dumps(urls), turn=turn), seconds=120)
            site.wait_for_rows(_DELIVERED, seconds=60, until=lambda rows: rows[0][0] >= RECEIVERS)
        count = int(SECONDS * 2)
        stage.arm(site, [(f"unrelated {number}", 5 + number / 2, {}) for number in range(count)])
        site.execute(_SET.format(urls=json.dumps(urls), turn="dripping"), seconds=120)
        rows = site.wait_for_rows(_WAITS, seconds=SECONDS + 60, until=lambda rows: len(rows) >= count)
        waits = [row[0] for row in rows]
        on_record, tried, most = site.rows(_TRIED)[0]
    say(
        f"{RECEIVERS} receivers drip a byte per {SECONDS_PER_BYTE:g} s, for {SECONDS:g} s: unrelated alarms waited "
        f"{verdicts.percentiles(waits)}; {tried} of {on_record} deliveries tried, one {most} times; load "
        f"{os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
    )
    assert max(waits) < BOUND
