"""Production as its operator sets it up: by environment alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from project.demo.processes import clean_environment
from tests.support.upstream import Answer, Upstream

REPOSITORY = Path(__file__).resolve().parents[2]
PRODUCTION = {
    "DEBUG": "0",
    "SECRET_KEY": "0f-a_long/random.text,that:only;this+site=knows!" * 2,
    "ALLOWED_HOSTS": "shop.example",
    "API_TOKENS": "a-token-of-the-tests",
    "CELERY_BROKER_URL": "redis://127.0.0.1:6379/0",
}


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A Python process with nothing but this environment, run to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
def test_the_deployment_check_is_clean(tmp_path: Path) -> None:
    """``manage.py check --deploy`` finds nothing to warn of with DEBUG=0 and what production needs."""
    database = f"sqlite:///{tmp_path / 'db.sqlite3'}"
    checked = python("manage.py", "check", "--deploy", "--fail-level", "WARNING", **PRODUCTION, DATABASE_URL=database)
    assert checked.returncode == 0, checked.stderr
    assert "no issues" in checked.stdout


@pytest.mark.slow
def test_a_new_secret_key_with_the_old_one_beside_it(tmp_path: Path) -> None:
    """What was signed before the key was changed holds as long as the old key is a fallback, and no longer."""
    given = {"DJANGO_SETTINGS_MODULE": "project.settings", "DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}"}
    old, new = {"SECRET_KEY": "old," * 20}, {"SECRET_KEY": "new," * 20}
    sign = "from django.core import signing; print(signing.dumps('link'))"
    signed = python("-c", sign, **given, **old).stdout.strip()
    read = f"from django.core import signing; print(signing.loads({signed!r}))"
    for fallbacks, holds in ((f"{'older,' * 20} {old['SECRET_KEY']}", True), ("", False)):
        process = python("-c", read, **given, **new, SECRET_KEY_FALLBACKS=fallbacks)
        assert (process.stdout.strip() == "link") == holds, process.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "False False 0 None"),
        (PRODUCTION, "True True 3600 None"),
        (PRODUCTION | {"HTTPS": "0"}, "False False 0 None"),
        (PRODUCTION | {"BEHIND_PROXY": "1"}, "True True 3600 ('HTTP_X_FORWARDED_PROTO', 'https')"),
    ],
    ids=["development", "production", "without HTTPS", "behind a proxy"],
)
def test_https_follows_the_environment(given: dict[str, str], expected: str, tmp_path: Path) -> None:
    """Production redirects to HTTPS and keeps cookies to it; development answers plain HTTP; a proxy is opt-in."""
    look = (
        "import django; django.setup(); from django.conf import settings as s; "
        "print(s.SECURE_SSL_REDIRECT, s.SESSION_COOKIE_SECURE, s.SECURE_HSTS_SECONDS, s.SECURE_PROXY_SSL_HEADER)"
    )
    environment = given | {"DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}"}
    process = python("-c", look, DJANGO_SETTINGS_MODULE="project.settings", **environment)
    assert process.stdout.strip() == expected, process.stderr


@pytest.mark.parametrize(
    ("hosts", "asked"),
    [("shop.example, www.shop.example", "shop.example"), (".shop.example", "shop.example"), ("*", "localhost")],
)
def test_the_container_asks_whether_it_is_ready(hosts: str, asked: str) -> None:
    """compose.yaml's health check asks ``/ready`` by a host that Django accepts, and fails unless the answer is 200."""
    found = re.search(r'test: (\["CMD", "python".*\])', (REPOSITORY / "compose.yaml").read_text("utf-8"))
    assert found is not None
    with Upstream() as site:
        site.script(Answer(200), Answer(503))
        _, _, option, code = json.loads(found.group(1))
        code = code.replace("127.0.0.1:8000", f"127.0.0.1:{site.port}")
        ran = [python(option, code, ALLOWED_HOSTS=hosts).returncode for _ in range(2)]
        requests = site.wait_for(2, 5)
    assert ran == [0, 1]
    assert {(each.path, each.headers["host"]) for each in requests} == {("/ready", asked)}
