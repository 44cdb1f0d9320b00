"""What the process environment may set, and what is reported when it sets something else."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from project.demo.processes import clean_environment
from project.environment import VARIABLES, Environment, database, kept_secret
from tests.architecture.sources import ROOT


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with none of the variables set."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_without_any_variable_it_runs_on_this_machine_alone(tmp_path: Path) -> None:
    """Nothing set means SQLite in a file, a broker inside the process, and loopback names only."""
    environment = Environment(tmp_path / "var")
    assert environment.debug
    assert environment.database()["NAME"] == str(tmp_path / "var" / "db.sqlite3")
    assert environment.broker_url() == "memory://"
    assert environment.allowed_hosts() == ["localhost", "127.0.0.1", "[::1]"]
    assert (environment.api_tokens(), environment.port()) == ([], None)


def test_the_development_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    """Sessions outlive a restart: the secret is the same each time, and only its owner may read it."""
    assert Environment(tmp_path).secret_key() == Environment(tmp_path).secret_key()
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600


def mode(path: Path) -> int:
    """What a file allows to whom."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("there", [False, True], ids=["made now", "open to all before"])
def test_a_development_database_is_its_owners_alone(there: bool, tmp_path: Path) -> None:
    """Nobody else enters the folder or reads the database, its WAL and its SHM: they hold sessions and secrets."""
    folder = tmp_path / "var"
    files = [folder / f"db.sqlite3{ending}" for ending in ("", "-wal", "-shm")]
    if there:
        folder.mkdir()
        folder.chmod(0o755)
        for file in files[:1]:
            file.touch()
            file.chmod(0o644)
    entry = Environment(folder).database()
    with contextlib.closing(sqlite3.connect(entry["NAME"])) as connection:
        connection.executescript(entry["OPTIONS"]["init_command"])
        connection.execute("CREATE TABLE kept (what)")
        assert [mode(path) for path in (folder, *files)] == [0o700, 0o600, 0o600, 0o600]


def test_files_of_a_process_that_was_killed_are_closed_too(tmp_path: Path) -> None:
    """What an earlier process left open to all beside its database is closed at the next start."""
    tmp_path.chmod(0o755)
    for ending in ("", "-wal", "-shm"):
        (tmp_path / f"db.sqlite3{ending}").touch(0o644)
    Environment(tmp_path).database()
    assert {mode(path) for path in tmp_path.iterdir()} == {0o600}


def test_a_database_elsewhere_is_made_private_and_then_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database outside of our own folder is made for its owner alone; a mode that somebody gave it later stays."""
    file = tmp_path / "data" / "shop.sqlite3"
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{file}")
    Environment(tmp_path / "var").database()
    assert (mode(file.parent), mode(file)) == (0o700, 0o600)
    file.chmod(0o640)
    Environment(tmp_path / "var").database()
    assert mode(file) == 0o640


@pytest.mark.parametrize("file", [".gitignore", ".dockerignore"])
def test_secrets_for_compose_stay_here(file: str) -> None:
    """`.env`, where compose.yaml reads secrets from, goes neither into git nor into an image."""
    assert {".env", ".env.*"} <= set((ROOT / file).read_text("utf-8").split())


@pytest.mark.parametrize("server", ["wsgi", pytest.param("asgi", marks=pytest.mark.slow)])
def test_a_server_for_strangers_does_not_debug_by_default(server: str, tmp_path: Path) -> None:
    """Without DEBUG no web server but `up` and `runserver` starts; with DEBUG=1 somebody wanted it so."""
    command = [sys.executable, "-c", f"import project.{server}"]
    given = clean_environment(DATABASE_URL=f"sqlite:///{tmp_path / 'db.sqlite3'}", SECRET_KEY="x" * 50)
    refused, taken = (
        subprocess.run(command, cwd=ROOT, env=given | more, capture_output=True, text=True, check=False)
        for more in ({}, {"DEBUG": "1"})
    )
    assert "DEBUG is not set" in refused.stderr
    assert "Set DEBUG=0" in refused.stderr
    assert taken.returncode == 0, taken.stderr


def test_processes_that_come_first_at_once_share_one_secret(tmp_path: Path) -> None:
    """Whoever loses the race to write it takes the winner's, and leaves no file of its own."""
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: kept_secret(tmp_path / "secret"), range(8)))
    assert len(secrets) == 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("missing", ["SECRET_KEY", "ALLOWED_HOSTS", "API_TOKENS"])
def test_production_refuses_to_start_without(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DEBUG=0 with one of the three missing is fatal, and the message names it."""
    for name in {"SECRET_KEY", "ALLOWED_HOSTS", "API_TOKENS"} - {missing}:
        monkeypatch.setenv(name, "given")
    monkeypatch.setenv("DEBUG", "0")
    environment = Environment(tmp_path)
    with pytest.raises(ImproperlyConfigured, match=f"production needs {missing}"):
        getattr(environment, missing.lower())()


def test_another_database_or_broker_alone_is_not_production(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only DEBUG=0 makes a missing secret fatal."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://example/shop")
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://example/0")
    assert Environment(tmp_path).secret_key()


@pytest.mark.parametrize(("name", "value"), [("DEBUG", "maybe"), ("PORT", "70000"), ("PORT", "http"), ("PORT", "0")])
def test_a_strange_value_is_named(name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which variable, what it holds, and what is allowed."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=f"{name} is '{value}'; allowed: "):
        Environment(tmp_path).port()


def test_earlier_keys_are_split_at_blanks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys may hold commas, and no blanks; without any there is none."""
    assert Environment(tmp_path).secret_key_fallbacks() == []
    monkeypatch.setenv("SECRET_KEY_FALLBACKS", " the,old  the:older\n")
    assert Environment(tmp_path).secret_key_fallbacks() == ["the,old", "the:older"]


def test_lists_are_split_at_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blanks around a name, and a comma too many, do not count."""
    monkeypatch.setenv("ALLOWED_HOSTS", " a.example, b.example ,")
    assert Environment(tmp_path).allowed_hosts() == ["a.example", "b.example"]


def test_sqlite_takes_its_write_lock_at_the_beginning(tmp_path: Path) -> None:
    """Every SQLite entry is IMMEDIATE and WAL; its path counts from the project's folder, or is absolute."""
    relative = database("sqlite:///shop.sqlite3", tmp_path)
    assert relative["NAME"] == str(tmp_path / "shop.sqlite3")
    assert relative["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode=WAL" in relative["OPTIONS"]["init_command"]
    assert database("sqlite:////elsewhere/shop.sqlite3", tmp_path)["NAME"] == "/elsewhere/shop.sqlite3"


def test_a_postgresql_address_is_read_as_libpq_reads_it(tmp_path: Path) -> None:
    """User, password with its escapes, host, port, name and options all arrive."""
    entry = database("postgresql://ada:a%2Fb@db.example:5433/shop?sslmode=require&connect_timeout=2", tmp_path)
    chosen = {name: entry[name] for name in ("USER", "PASSWORD", "HOST", "PORT", "NAME")}
    assert chosen == {"USER": "ada", "PASSWORD": "a/b", "HOST": "db.example", "PORT": "5433", "NAME": "shop"}
    assert entry["OPTIONS"]["sslmode"] == "require"
    assert int(entry["OPTIONS"]["connect_timeout"]) == 2


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:hunter2@h/n",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://u:hunter2@h/n?nonsense=1",
        "postgresql://u:hunter2@h",
    ],
)
def test_another_database_is_refused_without_telling_its_password(url: str, tmp_path: Path) -> None:
    """The message says what is allowed and repeats no password."""
    with pytest.raises(ImproperlyConfigured, match=r"DATABASE_URL .*allowed: ") as refusal:
        database(url, tmp_path)
    assert "hunter2" not in str(refusal.value)


def test_behind_pgbouncer_nothing_of_a_session_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements are kept by a connection of one's own only; behind a pooler neither they nor cursors on the server."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://user@host/name")
    own = Environment(tmp_path).database()
    assert own["OPTIONS"]["prepare_threshold"] == 5
    assert "DISABLE_SERVER_SIDE_CURSORS" not in own
    monkeypatch.setenv("BEHIND_PGBOUNCER", "1")
    pooled = Environment(tmp_path).database()
    assert pooled["OPTIONS"]["prepare_threshold"] is None
    assert pooled["DISABLE_SERVER_SIDE_CURSORS"] is True
