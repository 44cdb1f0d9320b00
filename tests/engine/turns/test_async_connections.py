"""Calls of async code are in the transaction that they belong to, and leave no connection behind."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing
from datetime import timedelta
from typing import Any, cast

import httpx
import pytest
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.db import connection, connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, TestCase, override_settings
from django.urls import path

from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Counter, Note, Script, Scripted
from tests.support.event_loops import (
    answers_of,
    hit,
    one_thread_kept,
    run,
    until,
    waiting,
)
from tests.support.services import own_session
from tests.support.threads import await_that

in_transaction = pytest.mark.django_db
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kept_for_no_time")]


@override_settings(ROOT_URLCONF=__name__)
class TestInsideATestCase(TestCase):
    """Async tests of Django's see what their test case has written, and it is rolled back."""

    async def test_calls_are_part_of_the_test(self) -> None:
        """``acall`` runs in the thread and the transaction of the test, combined calls too."""
        await Note.objects.acreate(text="mine")
        hits = Counter.objects.get_by_name("a")
        assert list(await asyncio.gather(hits.acall(hit), hits.acall(hit))) == [1, 2]
        assert await hits.acall(lambda one: Note.objects.filter(text="mine").exists() and connection.in_atomic_block)
        response: Any = await AsyncClient().get("/")
        assert response.content == b"1 3"


async def view(request: HttpRequest) -> HttpResponse:
    """Count a hit, and one that does not combine."""
    hits = await Counter.objects.get_by_name("hits").acall(hit)
    count = await Counter.objects.get_by_name("a").acall(Counter.add)
    return HttpResponse(f"{hits} {count}")


urlpatterns = [path("", view)]


@in_transaction
def test_an_async_view_in_a_test_that_is_rolled_back(settings: Any, async_client: AsyncClient) -> None:
    """pytest-django's transaction is the one that the view's calls are in: what the test wrote is there."""
    settings.ROOT_URLCONF = __name__
    Counter.objects.get_by_name("a").add(10)
    response: Any = async_to_sync(async_client.get)("/")
    assert response.content == b"1 11"
    assert Counter.objects.get_by_name("hits").storage.get("count") == 1


def test_in_a_transaction_of_a_waiting_thread_it_joins_that(obj: Scripted) -> None:
    """Sync code that waits in ``async_to_sync`` inside ``atomic()``: its combined call is rolled back with it, though
    other tasks of the event loop wait for the same object.
    """
    hits = Counter.objects.get_by_name("a")
    over = threading.Event()

    def rolled_back() -> int:
        with closing(connection), transaction.atomic():
            count: int = async_to_sync(hits.acall)(hit)
            transaction.set_rollback(True)
        over.set()
        return count

    async def main() -> tuple[int, int]:
        async with one_thread_kept() as release:
            outside = asyncio.ensure_future(hits.acall(hit))
            await until(lambda: waiting() == 1)
            inside = asyncio.ensure_future(sync_to_async(rolled_back, thread_sensitive=False)())
            await until(lambda: over.is_set() or waiting() > 1)
            release.set()
        return await inside, await outside

    assert run(main) == (1, 1)
    assert hits.storage.get("count") == 1


def test_a_thread_in_a_transaction_makes_no_calls_of_others() -> None:
    """A task whose thread has a transaction open, which Django does not support, rolls back its own call only."""
    hits = Counter.objects.get_by_name("a")

    async def inside() -> int:
        async with ThreadSensitiveContext():
            block = transaction.atomic()
            await sync_to_async(block.__enter__)()
            async with one_thread_kept() as release:
                mine = asyncio.ensure_future(hits.acall(hit))
                await until(lambda: waiting() == 2)
                release.set()
            count = await mine
            await sync_to_async(block.__exit__)(ValueError, ValueError("undo"), None)
            await sync_to_async(connections.close_all)()
            return count

    async def outside() -> int:
        await until(lambda: waiting() == 1)
        async with ThreadSensitiveContext():
            count = await hits.acall(hit)
            await sync_to_async(connections.close_all)()
            return count

    assert run(lambda: answers_of(inside(), outside())) == [1, 1]
    assert hits.storage.get("count") == 1


def test_async_code_in_an_alarm_is_in_its_turn(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """What a handler runs by ``async_to_sync`` sees the turn's writes, and its own are undone when the run fails."""

    async def main(one: Scripted) -> Any:
        await one.storage.aput("inside", 1)
        return await one.storage.aget("before")

    def alarm(one: Scripted, info: Any) -> None:
        one.storage.put("before", 1)
        assert async_to_sync(main)(one) == 1
        if not info.is_retry:
            raise ValueError("once")

    script.alarm = alarm
    obj.storage.set_alarm(timedelta(0))
    (failed,) = run_due_alarms()
    assert (failed.outcome, obj.storage.list()) == ("failed", {})
    clock.advance(timedelta(seconds=2))
    assert [each.outcome for each in run_due_alarms()] == ["succeeded"]
    assert obj.storage.list() == {"before": 1, "inside": 1}


def sessions() -> int:
    """How many sessions of this database the server has, beside this one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])


@own_session
@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="a server that counts sessions: set TEST_DATABASE_URL")
def test_no_connection_is_left_behind(settings: Any) -> None:
    """Requests and scripts that made calls leave no session: none of a hundred, nor one of the thread for scripts."""
    settings.ROOT_URLCONF = __name__
    counter = Counter.objects.get_by_name("a")

    async def requests() -> list[str]:
        transport = httpx.ASGITransport(cast("Any", ASGIHandler()))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            responses = await asyncio.gather(*(client.get("/") for _ in range(20)))
        return [response.text for response in responses]

    before = sessions()
    for _ in range(5):
        answers = run(requests)
        assert len(set(answers)) == 20
        run(lambda: counter.acall(Counter.add))
    await_that(lambda: sessions() == before)
    assert counter.storage.get("count") == 105


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="a connection that is kept: set TEST_DATABASE_URL")
def test_conn_max_age_keeps_the_connection_of_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of requests the thread's connection lasts as long as ``CONN_MAX_AGE`` says."""
    counter = Counter.objects.get_by_name("a")

    def pid(one: Counter) -> int:
        one.add()
        return int(connection.connection.info.backend_pid)

    async def main(age: int | None) -> set[int]:
        await sync_to_async(lambda: monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", age))()
        try:
            return {await counter.acall(pid) for _ in range(3)}
        finally:
            await sync_to_async(connections.close_all)()

    assert len(run(lambda: main(60))) == 1
    assert len(run(lambda: main(0))) == 3
