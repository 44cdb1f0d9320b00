"""Reminders whose process is killed between sending and writing it down: real processes, real servers, real -9."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from durable_objects import now
from durable_objects.receiver import verify
from tests.support.site_processes import Site
from tests.support.smtp_server import SmtpServer
from tests.support.upstream import Upstream

pytestmark = pytest.mark.chaos

SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS10ZXN0cy1vbmx5"


@pytest.mark.django_db
@pytest.mark.parametrize("channel", ["webhook", "email"])
def test_killed_after_sending_it_sends_the_same_key(channel: str, tmp_path: Path) -> None:
    """The other side sees the same message twice, under one key: never two keys, and never none."""
    with Upstream() as upstream, SmtpServer() as office:
        settings = {"WEBHOOK_URL": upstream.url, "WEBHOOK_SECRET": SECRET, "EMAIL_TO": ["ada@example.org"]}
        with Site(
            tmp_path,
            f"sqlite:///{tmp_path / 'site.sqlite3'}",
            "memory://",
            engine={"LEASE": 3, "DISPATCH_EVERY": 1},
            DJANGO_SETTINGS_MODULE="tests.support.reminder_settings",
            REMINDERS=json.dumps(settings),
            EMAIL_PORT=str(office.port),
        ).migrate() as site:

            def keys() -> list[str]:
                if channel == "webhook":
                    return [verify(SECRET, request.headers, request.body) for request in upstream.received]
                return [str(mail["Message-ID"]).strip("<>").partition("@")[0] for mail in office.mails]

            with site.up("doomed", DURABLE_OBJECTS_KILL_AT="reminders.sent") as http:
                fire_at = (now() + timedelta(seconds=1)).isoformat()
                new = {"message": "tea", "fire_at": fire_at, "channels": [channel]}
                assert http.put("/reminders/tea", json=new).status_code == 200
            doomed = site.processes[-1]
            assert (doomed.ended(20), len(keys())) == (-9, 1)

            with site.up("next") as http:
                site.wait_for("the second delivery", keys, seconds=60, until=lambda seen: len(seen) > 1)
                site.wait_for(
                    "the reminder to be over", lambda: http.get("/reminders/tea").json()["message"], seconds=20,
                    until=lambda message: message is None,
                )  # fmt: skip
            shown = json.loads(site.manage("reminders", "show", "tea", "--json"))
    (delivery,) = shown["deliveries"]
    assert keys() == [delivery["key"]] * 2
    assert (delivery["status"], delivery["attempts"]) == ("delivered", 2)


@pytest.mark.django_db
def test_killed_after_sending_a_digest_it_sends_the_same_one(tmp_path: Path) -> None:
    """The other side sees the same list twice, under one key, and each of its reminders is over after that."""
    with Upstream() as upstream:
        settings = {"WEBHOOK_URL": upstream.url, "WEBHOOK_SECRET": SECRET}
        with Site(
            tmp_path,
            f"sqlite:///{tmp_path / 'site.sqlite3'}",
            "memory://",
            engine={"LEASE": 3, "DISPATCH_EVERY": 1},
            DJANGO_SETTINGS_MODULE="tests.support.reminder_settings",
            REMINDERS=json.dumps(settings),
            EMAIL_PORT="9",
        ).migrate() as site:
            window = "from datetime import timedelta; from reminders.models import Recipient"
            site.manage(
                "shell", "-c", f"{window}; Recipient.objects.create(name='ada', digest_window=timedelta(seconds=4))"
            )
            with site.up("doomed", DURABLE_OBJECTS_KILL_AT="reminders.sent") as http:
                for name in ("tea", "milk"):
                    new = {"message": name, "fire_at": now().isoformat(), "channels": ["webhook"], "person": "ada"}
                    assert http.put(f"/reminders/{name}", json=new).status_code == 200
                doomed = site.processes[-1]
                assert (doomed.ended(30), len(upstream.received)) == (-9, 1)

            with site.up("next") as http:

                def texts() -> set[str | None]:
                    return {http.get(f"/reminders/{name}").json()["message"] for name in ("tea", "milk")}

                site.wait_for("both to be over", texts, seconds=60, until=lambda seen: seen == {None})
            shown = [json.loads(site.manage("reminders", "show", name, "--json")) for name in ("tea", "milk")]
    first, second = upstream.received
    keys = {verify(SECRET, request.headers, request.body) for request in (first, second)}
    deliveries = [row for each in shown for row in each["deliveries"]]
    lists = [sorted(item["message"] for item in each.json["data"]["reminders"]) for each in (first, second)]
    assert lists == [["milk", "tea"]] * 2
    assert {(row["digest"], row["status"], row["attempts"]) for row in deliveries} == {(*keys, "delivered", 2)}
