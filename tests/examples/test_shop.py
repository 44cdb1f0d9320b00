"""The example that the tutorial walks through: its own tests, its checks and types, and a run with a real worker."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from project.demo.processes import wait_for
from tests.examples.shop import SECONDS, Shop, written


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """The example in a folder of the test's own."""
    return Shop(tmp_path)


@pytest.mark.slow
def test_its_own_tests_pass(shop: Shop) -> None:
    """As a foreign project runs them: pytest, with the fixtures of the engine's plugin, warnings as errors."""
    report = shop.python("-W", "error", "-m", "pytest", "-q", "-p", "durable_objects.pytest_plugin")
    assert " passed" in report


@pytest.mark.slow
def test_it_is_checked_and_migrated(shop: Shop) -> None:
    """``check`` finds nothing to warn of, and no migration is missing."""
    shop.manage(["check", "--fail-level", "WARNING"], ["makemigrations", "--check", "--dry-run"])


@pytest.mark.slow
def test_admin_speaks_of_many_in_english(shop: Shop) -> None:
    """No name of a class has Django's plain "s" behind an "s" or "x": admin's first page has them all."""
    ask = "from django.apps import apps; print([str(m._meta.verbose_name_plural) for m in apps.get_models()])"
    assert not re.search(r"[sx]s'", shop.manage(["shell", "-v0", "-c", ask]))


@pytest.mark.slow
def test_it_is_strictly_typed(shop: Shop) -> None:
    """``mypy --strict`` with django-stubs' plugin finds nothing in it."""
    assert "Success" in shop.python("-m", "mypy")


@pytest.mark.slow
def test_migrate_plans_the_first_night(shop: Shop) -> None:
    """The one object that counts at night is there after ``migrate``, with its schedule."""
    listed = shop.manage(["migrate", "-v0"], ["schedules", "list", "--json"])
    [night] = [json.loads(line) for line in listed.splitlines()]
    assert (night["kind"], night["name"], night["schedule"]) == ("shop.NightlyFigures", "all", "count")


@pytest.mark.slow
def test_a_mail_comes_from_a_real_worker(shop: Shop) -> None:
    """A cart, a worker and a dispatcher on the broker of files: moved to now, the alarm sends its mail."""
    ada = ["shop.Cart", "ada@example.com"]
    shop.manage(
        ["migrate", "-v0"],
        ["loaddata", "-v0", "products"],
        ["objects", "call", *ada, "add", '"Green tea"'],
        ["alarms", "move", *ada, "1"],
    )
    with shop.worker() as worker, shop.dispatcher():
        mail = wait_for(
            "the mail", lambda: written(worker), seconds=SECONDS, until=lambda text: "1 x Green tea" in text
        )
        assert "To: ada@example.com" in mail
        wait_for("the run", lambda: shop.manage(["objects", "show", *ada, "--json"]), seconds=SECONDS, until=succeeded)


def succeeded(shown: str) -> bool:
    """Whether the history that ``objects show --json`` has ends well."""
    return '"succeeded"' in shown
