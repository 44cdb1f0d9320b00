"""The fast path under ASGI, where requests are cut off, a server stops, or what adds them ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.core.handlers.asgi import ASGIHandler

from batcher import fast_path
from batcher.fast_path import FastPath
from batcher.models import Batcher
from batcher.plain_requests import Plain
from project.api import api
from tests.support.server_interfaces import hang_up
from tests.support.threads import await_event

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("good_token")]

GOOD = {"Authorization": "Bearer good"}


class Held:
    """Adding that is held up: ``begun`` says how many are being added, ``go_on`` lets them be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.application = FastPath(ASGIHandler(), api)
        self.begun: list[int] = []
        self.go_on, self.has_ended = threading.Event(), False
        self._add_all = fast_path._add_all
        monkeypatch.setattr(fast_path, "_add_all", self._add)

    def _add(self, name: str, waiting: Any) -> Any:
        self.begun.append(len(waiting))
        await_event(self.go_on)
        return self._add_all(name, waiting)

    def client(self) -> httpx.AsyncClient:
        """A client of the application."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.application), base_url="http://localhost")

    async def post(self, client: httpx.AsyncClient, *bodies: str) -> list[asyncio.Task[httpx.Response]]:
        """Posts to one batcher; they are being added, or wait for that."""
        count = self._count() + len(bodies)
        tasks = [asyncio.create_task(client.post("/batcher/a", headers=GOOD, content=body.encode())) for body in bodies]
        for _ in range(1_000):
            if self._count() == count:
                return tasks
            await asyncio.sleep(0.01)
        raise TimeoutError(f"{self._count()} of {count} wait")

    def end(self) -> None:
        """Return once nothing is being added any more."""
        self.go_on.set()
        if not self.has_ended:
            self.has_ended = True
            hang_up(self.application)

    def _count(self) -> int:
        line = self.application._lines.get("a")
        return sum(self.begun) + (len(line.waiting) if line else 0)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """An application that is held up until the test lets it go on."""
    held = Held(monkeypatch)
    yield held
    held.end()


def test_what_is_cut_off_before_its_turn_is_not_added(held: Held) -> None:
    """Its client was not told that it was, and may send it again."""

    async def cut_off() -> list[int]:
        async with held.client() as client:
            [first] = await held.post(client, "a")
            for other in await held.post(client, "b", "c"):
                other.cancel()
            await asyncio.sleep(0.01)
            held.go_on.set()
            last = await client.post("/batcher/a", headers=GOOD, content=b"d")
            return [answer.json()["queued"] for answer in (await first, last)]

    assert asyncio.run(cut_off()) == [1, 2]


def test_a_stop_adds_no_more_than_is_begun(held: Held, caplog: pytest.LogCaptureFixture) -> None:
    """The audit log is told of it, though no client is."""
    caplog.set_level("INFO", "durable_objects.http.audit")

    async def stopped() -> None:
        async with held.client() as client:
            await held.post(client, "a")
            await held.post(client, "b", "c")
            threading.Timer(0.2, held.go_on.set).start()  # when all tasks are cancelled: asyncio.run does that now

    asyncio.run(stopped())
    held.end()
    assert Batcher.objects.get_by_name("a").queued() == 1
    assert [line.__dict__["times"] for line in caplog.records] == [1]


def test_whatever_ends_a_turn_is_told_to_all_that_wait(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever, and those that come afterwards are added."""

    def refuse(plain: Plain, status: int, *, times: int = 1) -> None:
        if status == 200:
            raise ZeroDivisionError("a filter of the project's")

    async def asked() -> list[int]:
        async with held.client() as client:
            with monkeypatch.context() as patch:
                patch.setattr(Plain, "record", refuse)
                waiting = await held.post(client, "a") + await held.post(client, "b", "c")
                held.go_on.set()
                answers = [await each for each in waiting]
            answers.append(await client.post("/batcher/a", headers=GOOD, content=b"d"))
        return [answer.status_code for answer in answers]

    assert asyncio.run(asyncio.wait_for(asked(), 20)) == [500, 500, 500, 200]
