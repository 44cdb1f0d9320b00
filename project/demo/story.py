"""The demonstration's steps. Each prints what it did and saw, or raises ``Failure`` with what was missing."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from project.demo import database_steps as steps
from project.demo.processes import Child, Failure, clean_environment, wait_for

SECONDS_TO_START = 30.0
REMINDER = "the kettle boils"


class Story:
    """One demonstration in ``folder`` (its database, its logs, what the upstream got); the ``with`` block ends all."""

    def __init__(self, say: Callable[[str], None], folder: Path, repository: Path) -> None:
        self.say, self.folder, self.repository = say, folder, repository
        self.upstream_file = folder / "upstream.jsonl"
        self.token = secrets.token_urlsafe(16)
        self.environment = clean_environment(
            DJANGO_SETTINGS_MODULE="project.settings",
            DATABASE_URL=f"sqlite:///{folder / 'demo.sqlite3'}",
            CELERY_BROKER_URL="memory://",
            API_TOKENS=self.token,
            SECRET_KEY=secrets.token_urlsafe(40),
            DEBUG="1",
            PYTHONUTF8="1",
        )
        self.accepted: dict[str, list[str]] = {}
        self._receipts: dict[str, str] = {}
        self._running = ExitStack()
        self.server: Child
        self.http: httpx.Client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._running.close()

    def tell(self, source: str, lines: list[str]) -> None:
        """Run the whole story, in order."""
        self.start()
        self.batch(source, lines)
        self.kill()
        self.set_aside()
        self.replay()
        self.remind()
        self.clean()
        self.judge()
        if (code := self.server.stop()) != 0:
            raise Failure(f"expected the server to stop cleanly on SIGTERM, it ended with {code}")

    def start(self) -> None:
        """Start the upstream and the server, and configure the batchers."""
        upstream = self._child("upstream", ["-m", "project.demo.upstream", str(self.upstream_file)], brief=False)
        url = f"http://127.0.0.1:{upstream.ready(SECONDS_TO_START)['port']}/"
        self.say(f"1. An upstream listens at {url} (process {upstream.pid}); it will answer 503 to the first batch.")
        self._start_server()
        self.say(f"   The server runs at {self.http.base_url} (process {self.server.pid}): web, worker and dispatcher.")
        self._child("preparation", ["-m", steps.__name__, "prepare", url]).ready(SECONDS_TO_START)

    def batch(self, source: str, lines: list[str]) -> None:
        """Send all lines in one by one; see one batch go out, refused once, sent again under the same key."""
        accepted = [line for line in lines if self._add(steps.BATCHER, line)]
        self.say(f"2. Sent {len(lines)} lines of {source} by POST /batcher/{steps.BATCHER}; accepted {len(accepted)}.")
        if not accepted:
            raise Failure("expected the server to accept some of the lines, it accepted none")
        limit = steps.WINDOW.total_seconds() + 15
        wait_for("a batch at the upstream", self._posts, seconds=limit)
        self.say(f"   The window of {steps.WINDOW.total_seconds():.0f} s is over: one batch went out.")
        refused, delivered = wait_for(
            "the batch sent again", self._posts, seconds=20, until=lambda posts: len(posts) >= 2
        )[:2]
        if (refused["status"], delivered["status"]) != (503, 200):
            raise Failure(f"expected the answers 503 and 200, saw {refused['status']} and {delivered['status']}")
        if not refused["key"] or refused["key"] != delivered["key"]:
            raise Failure(f"expected one key on both posts, saw {refused['key']!r} and {delivered['key']!r}")
        same_items("the refused post", refused, accepted)
        same_items("the delivered post", delivered, accepted)
        self.say(f"   Refused with 503, sent again and delivered under the same key {delivered['key']}.")
        # Killed before that is on record, the server would rightly send the batch once more.
        self._wait_for_state(self._receipts[steps.BATCHER], "delivered")
        self.say(f"   The upstream's file holds all {len(accepted)} accepted items, once, in order.")

    def kill(self) -> None:
        """Kill the server with an alarm pending; see the alarm run after the next start."""
        before = len(self._posts())
        item = "accepted just before the kill"
        self._add(steps.PENDING_BATCHER, item)
        state = self.http.get(f"/batcher/{steps.PENDING_BATCHER}").json()
        if state.get("queued") != 1 or not state.get("alarm"):
            raise Failure(f"expected one item and an alarm before the kill, saw {state}")
        self.server.kill()
        if len(self._posts()) != before:
            raise Failure("expected the alarm to be pending at the kill, it had run already")
        self.say(f"3. Killed process {self.server.pid} with -9, with an alarm pending for {state['alarm']}.")
        self._start_server()
        self.say(f"   Started again as process {self.server.pid}.")
        posts = wait_for("the pending batch", self._posts, seconds=30, until=lambda posts: len(posts) > before)
        same_items("the batch after the restart", posts[before], [item])
        self.say("   The alarm ran: the item that was waiting is at the upstream.")

    def set_aside(self) -> None:
        """See a batch set aside whose upstream is down past its quick retries, newer items go on, and a flush
        send it.
        """
        receipt = self._receipt_of(steps.UNLUCKY_BATCHER, "set aside")
        seen = self._wait_for_state(receipt, "set_aside")
        self.say(f"4. An upstream that was down: batch {seen['batch']} is set aside, to be tried again in a minute.")
        newer = self._receipt_of(steps.UNLUCKY_BATCHER, "newer")
        self._wait_for_state(newer, "delivered")
        self.say("   It delays nothing else: a newer item is delivered meanwhile.")
        self._command("flush", steps.UNLUCKY_BATCHER)
        self._wait_for_state(receipt, "delivered")
        self._sent_twice(seen["batch"], [503, 200], "set aside")
        self.say(f"   manage.py batcher flush {steps.UNLUCKY_BATCHER}: delivered now, under the same key.")

    def replay(self) -> None:
        """See a batch that the upstream refuses kept with the reason, and sent again under its key by ``replay``."""
        receipt = self._receipt_of(steps.REFUSED_BATCHER, "refused at first")
        seen = self._wait_for_state(receipt, "failed")
        self.say(f"5. An upstream that refused with 422: batch {seen['batch']} failed and is kept.")
        replayed = self._command("replay", steps.REFUSED_BATCHER)["replayed"]
        if replayed != [seen["batch"]]:
            raise Failure(f"expected {seen['batch']} to be replayed, saw {replayed}")
        self._wait_for_state(receipt, "delivered")
        self._sent_twice(seen["batch"], [422, 200], "refused at first")
        self.say(f"   manage.py batcher replay {steps.REFUSED_BATCHER}: delivered now, under the same key.")

    def remind(self) -> None:
        """Set a reminder two seconds ahead; see it fire."""
        fire_at = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
        put = self.http.put("/reminders/demo", json={"message": REMINDER, "fire_at": fire_at})
        if put.status_code != 200 or REMINDER not in self.http.get("/reminders/demo").text:
            raise Failure(f"expected the reminder to be set, saw {put.status_code} {put.text}")
        self.say(f'6. Set a reminder "{REMINDER}" for {fire_at}.')
        wait_for(
            "the reminder to be over",
            lambda: self.http.get("/reminders/demo").text,
            seconds=20,
            until=lambda text: REMINDER not in text,
        )
        wait_for(
            "the reminder in the server's log", lambda: REMINDER.encode() in self.server.log.read_bytes(), seconds=5
        )
        self.say("   It fired: the server's log has it, and GET /reminders/demo shows that nothing is set.")

    def clean(self) -> None:
        """See the entry that is older than a day deleted, and the fresh one kept."""
        before = self._entries("clean")
        if before != [steps.FRESH, steps.OLD]:
            raise Failure(f"expected the cleaner to have both entries, saw {before}")
        self.say(f'7. A cleaner was given entries "{steps.OLD}" and "{steps.FRESH}"; it cleans every second.')
        kept = wait_for("the old entry to go", self._entries, seconds=20, until=lambda keys: steps.OLD not in keys)
        if kept != [steps.FRESH]:
            raise Failure(f"expected the cleaner to keep {steps.FRESH!r}, saw {kept}")
        self.say("   The old one is gone, the fresh one stays.")

    def judge(self) -> None:
        """Check that all that was delivered in the whole story is all that was accepted, each item once."""
        posts = [post for post in self._posts() if post["status"] == httpx.codes.OK]
        delivered = Counter((post["body"]["batcher"], item) for post in posts for item in post["body"]["items"])
        accepted = Counter((batcher, item) for batcher, items in self.accepted.items() for item in items)
        count = accepted.total()
        if delivered != accepted:
            raise Failure(f"expected {count} items delivered, each once, saw {delivered.total()}")
        self.say(f"8. In all, {count} items were accepted and delivered, in {len(posts)} batches, each once.")

    def _child(self, name: str, arguments: list[str], *, brief: bool = True) -> Child:
        child = Child(name, arguments, self.folder, self.repository, self.environment, brief=brief)
        return self._running.enter_context(child)

    def _start_server(self) -> None:
        self.server = self._child("server", ["manage.py", "up", "--port", "0", "--json"], brief=False)
        address = self.server.ready(SECONDS_TO_START)["address"]
        headers = {"Authorization": f"Bearer {self.token}"}
        client = httpx.Client(base_url=address, headers=headers, timeout=10, trust_env=False)
        self.http = self._running.enter_context(client)

    def _add(self, batcher: str, line: str) -> bool:
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        answer = self.http.post(f"/batcher/{batcher}", content=line.encode(), headers=headers)
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise Failure(f"expected an item to be accepted, saw {answer.status_code} {answer.text}")
        if answer.is_success:
            self.accepted.setdefault(batcher, []).append(line)
            self._receipts[batcher] = answer.headers["Location"]
        return answer.is_success

    def _receipt_of(self, batcher: str, line: str) -> str:
        """Add an item; return where its receipt is."""
        if not self._add(batcher, line):
            raise Failure(f"expected the item {line!r} to be accepted")
        return self._receipts[batcher]

    def _wait_for_state(self, receipt: str, state: str) -> dict[str, Any]:
        """Return the receipt, once it reports this state."""
        return wait_for(
            f"{receipt} to say {state}",
            lambda: self.http.get(receipt).json(),
            seconds=20,
            until=lambda seen: seen.get("state") == state,
        )

    def _command(self, verb: str, batcher: str) -> dict[str, Any]:
        """Return what ``manage.py batcher`` prints, run in a process of its own beside the server."""
        return self._child(verb, ["manage.py", "batcher", verb, batcher, "--json"]).ready(SECONDS_TO_START)

    def _sent_twice(self, key: str, answers: list[int], item: str) -> None:
        """Raise ``Failure`` unless the upstream's file has the batch so, with this item, and under this key only."""
        posts = [post for post in self._posts() if item in post["body"]["items"]]
        if [(post["key"], post["status"]) for post in posts] != [(key, answer) for answer in answers]:
            raise Failure(f"expected two posts under {key}, answered {answers}, saw {posts}")
        for post in posts:
            same_items(f"the post of {key}", post, [item])

    def _posts(self) -> list[dict[str, Any]]:
        if not self.upstream_file.exists():
            return []
        *whole, _being_written = self.upstream_file.read_text("utf-8").split("\n")
        return [json.loads(line) for line in whole]

    def _entries(self, verb: str = "look") -> list[str]:
        inside_it = self._child(verb, ["-m", steps.__name__, verb])
        entries: list[str] = inside_it.ready(SECONDS_TO_START)["entries"]
        return entries


def same_items(what: str, post: dict[str, Any], accepted: list[str]) -> None:
    """Raise ``Failure`` unless the upstream recorded that ``post`` carried exactly ``accepted``, in order."""
    items = post["body"].get("items")
    if items != accepted:
        seen = f"{len(items)} items" if isinstance(items, list) else repr(items)
        raise Failure(f"expected {what} to carry the {len(accepted)} accepted items in order, saw {seen}")
