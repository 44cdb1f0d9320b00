"""The process environment, read and checked in one place for ``project.settings``."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from durable_objects.http.rate_limit import flaw_of
from durable_objects.masking import masked_url
from durable_objects.recurrence.zones import ZONE_ALLOWED, find_zone

#: Every variable that the project reads. One that is set to nothing counts as not set.
VARIABLES = (
    "DATABASE_URL",
    "CELERY_BROKER_URL",
    "DEBUG",
    "SECRET_KEY",
    "SECRET_KEY_FALLBACKS",
    "ALLOWED_HOSTS",
    "API_TOKENS",
    "API_RATE",
    "API_FAILURE_RATE",
    "LOGIN_FAILURE_RATE",
    "PORT",
    "TIME_ZONE",
    "HTTPS",
    "BEHIND_PROXY",
    "BEHIND_PGBOUNCER",
)

#: Hosts that a development server answers to.
LOOPBACK = ["localhost", "127.0.0.1", "[::1]"]

_SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


class Environment:
    """Typed reads of ``VARIABLES``; each raises ``ImproperlyConfigured`` naming the variable and what is allowed.

    ``folder`` is where a development machine keeps its database and secret; it is made when first needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.debug = self._switch("DEBUG", "1")  # 0: production

    def secret_key(self) -> str:
        """Return SECRET_KEY; in development one that is made once and kept. Production must set it."""
        given = self._text("SECRET_KEY")
        if given:
            return given
        self._refuse_in_production("SECRET_KEY", "a long random text that only this site knows")
        return kept_secret(self.folder / "secret_key")

    def secret_key_fallbacks(self) -> list[str]:
        """Return SECRET_KEY_FALLBACKS, separated by blanks: earlier keys, whose sessions, links and calendar addresses
        stay valid.
        """
        return self._text("SECRET_KEY_FALLBACKS").split()

    def allowed_hosts(self) -> list[str]:
        """Return ALLOWED_HOSTS, comma separated; in development the loopback names. Production must set it."""
        given = self._list("ALLOWED_HOSTS")
        if not given:
            self._refuse_in_production("ALLOWED_HOSTS", "the host names it answers to, comma separated")
        return given or LOOPBACK

    def api_tokens(self) -> list[str]:
        """Return API_TOKENS, comma separated; empty in development, where ``up`` makes one. Production must set it."""
        given = self._list("API_TOKENS")
        if not given:
            self._refuse_in_production("API_TOKENS", "the bearer tokens of its HTTP interface, comma separated")
        return given

    def rate(self, name: str, default: str) -> str:
        """Return how often something may be done: ``100/s``, ``600/m`` or ``5000/h``; ``0`` is no limit."""
        given = self._text(name) or default
        if flaw := flaw_of(given):
            raise ImproperlyConfigured(f"{name} {flaw}.")
        return given

    def port(self) -> int | None:
        """Return PORT, 1 to 65535, or None: the server takes a free one."""
        given = self._text("PORT")
        if not given:
            return None
        if not (given.isascii() and given.isdecimal() and 1 <= int(given) <= 65535):
            raise ImproperlyConfigured(f"PORT is {given!r}; allowed: a number from 1 to 65535.")
        return int(given)

    def time_zone(self) -> str:
        """Return TIME_ZONE: in which pages, commands and logs show times, where nobody has chosen another; else UTC."""
        given = self._text("TIME_ZONE") or "UTC"
        if find_zone(given) is None:
            raise ImproperlyConfigured(f"TIME_ZONE is {given!r}; allowed: {ZONE_ALLOWED}.")
        return given

    def https(self) -> bool:
        """Return HTTPS: whether browsers may only use HTTPS; in production they may, unless it is 0."""
        return self._switch("HTTPS", "0" if self.debug else "1")

    def behind_proxy(self) -> bool:
        """Return BEHIND_PROXY: whether a proxy in front ends TLS and reports it by X-Forwarded-Proto, which it must
        overwrite.
        """
        return self._switch("BEHIND_PROXY", "0")

    def broker_url(self) -> str:
        """Return CELERY_BROKER_URL; by default a broker inside the process, for which ``up`` needs no other process."""
        return self._text("CELERY_BROKER_URL") or "memory://"

    def database(self) -> dict[str, Any]:
        """Return DATABASE_URL as an entry of ``DATABASES``; by default an SQLite file in ``folder``."""
        entry = database(self._text("DATABASE_URL") or f"sqlite:///{self.folder / 'db.sqlite3'}", self.folder.parent)
        if entry["ENGINE"].endswith("sqlite3"):
            keep_private(Path(entry["NAME"]), within=self.folder)
        elif self._switch("BEHIND_PGBOUNCER", "0"):
            behind_pgbouncer(entry)
        return entry

    def _text(self, name: str) -> str:
        return os.environ.get(name, "").strip()

    def _list(self, name: str) -> list[str]:
        return [part.strip() for part in self._text(name).split(",") if part.strip()]

    def _switch(self, name: str, default: str) -> bool:
        given = self._text(name) or default
        if given.lower() not in _SWITCH:
            raise ImproperlyConfigured(f"{name} is {given!r}; allowed: 1 or 0.")
        return _SWITCH[given.lower()]

    def _refuse_in_production(self, name: str, meaning: str) -> None:
        if not self.debug:
            raise ImproperlyConfigured(
                f"DEBUG=0 means production, and production needs {name}: {meaning}. Set it in the environment."
            )


def refuse_debugging_by_default() -> None:
    """Refuse to serve strangers where DEBUG was not set: its default is for ``manage.py up`` and ``runserver``.

    Raises ``ImproperlyConfigured``. ``DEBUG=1`` that was set is what somebody wanted.
    """
    if not os.environ.get("DEBUG", "").strip():
        raise ImproperlyConfigured(
            "DEBUG is not set, and a web server that strangers reach must not show them error pages with the code and "
            "its values. Set DEBUG=0 (production), or DEBUG=1 to see them on this machine."
        )


def database(url: str, base: Path) -> dict[str, Any]:
    """Return the entry of ``DATABASES`` for ``sqlite:///PATH`` (relative to ``base``) or ``postgresql://…`` (as libpq
    reads it).

    Raises ``ImproperlyConfigured`` for anything else, without repeating a password.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        return _sqlite(rest, base)
    if scheme in ("postgresql", "postgres"):
        return _postgresql(url)
    raise ImproperlyConfigured(
        f"DATABASE_URL begins with {masked_url(scheme)!r}; allowed: sqlite:///PATH and postgresql://USER:PASSWORD@HOST:PORT/NAME."
    )


def behind_pgbouncer(entry: dict[str, Any]) -> None:
    """Change the entry for a pooler whose sessions are another one's after each transaction."""
    entry["OPTIONS"]["prepare_threshold"] = None
    entry["DISABLE_SERVER_SIDE_CURSORS"] = True


def _sqlite(rest: str, base: Path) -> dict[str, Any]:
    path = rest.removeprefix("/")
    if not rest.startswith("/") or path in ("", ":memory:"):
        raise ImproperlyConfigured(
            f"DATABASE_URL is {masked_url('sqlite://' + rest)!r}; allowed: sqlite:///PATH with the path of a file, "
            "since a database in memory is another one for each connection."
        )
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(base / path),
        "CONN_MAX_AGE": 60,
        "OPTIONS": {
            # A transaction that begins by reading cannot wait for its turn to write: it fails at once. So each one
            # takes the write lock as it begins, and waits for it.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",  # what was answered is on disk
        },
    }


def _postgresql(url: str) -> dict[str, Any]:
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        given: Mapping[str, Any] = conninfo_to_dict(url)
    except ProgrammingError:
        raise ImproperlyConfigured(
            "DATABASE_URL is not a PostgreSQL address; allowed: postgresql://USER:PASSWORD@HOST:PORT/NAME?option=value."
        ) from None
    options = {"connect_timeout": 5, "keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
    options["tcp_user_timeout"] = 30_000  # milliseconds, for what was sent and not acknowledged
    options["prepare_threshold"] = 5  # the driver's: a statement that a connection repeats is prepared (off: None)
    known = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    if "dbname" not in given:
        raise ImproperlyConfigured("DATABASE_URL names no database; allowed: postgresql://USER:PASSWORD@HOST/NAME.")
    return {
        "ENGINE": "django.db.backends.postgresql",
        **{known[name]: str(value) for name, value in given.items() if name in known},
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options | {name: value for name, value in given.items() if name not in known},
    }


def keep_private(file: Path, within: Path) -> None:
    """Let nobody but its owner read an SQLite database: it holds sessions and signing secrets.

    What is made here (folders, and the file, whose mode SQLite gives to its WAL and SHM) is made so. What is there
    already is changed only in ``within``, our own folder; elsewhere its mode is for its owner to say.
    """
    make_private_folder(file.parent)
    with contextlib.suppress(OSError):  # a disk that cannot be written to is reported by who wants to
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    if file.is_relative_to(within):
        _close_to_others(within, 0o700)
        for name in ("", "-wal", "-shm", "-journal"):
            _close_to_others(Path(f"{file}{name}"), 0o600)


def make_private_folder(folder: Path) -> None:
    """Make a folder that only its owner may enter."""
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _close_to_others(path: Path, mode: int) -> None:
    with contextlib.suppress(OSError):  # not there, or another user's
        if stat.S_IMODE(path.stat().st_mode) & ~mode:
            path.chmod(mode)


def kept_secret(path: Path) -> str:
    """Return the secret kept in the file ``path``, made when there is none; only its owner may read it.

    Of several processes that come first at once, all get the same.
    """
    if not path.exists():
        make_private_folder(path.parent)
        handle, made = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(50))
        try:
            os.link(made, path)  # unlike a rename it leaves one that is there already
        except FileExistsError:
            pass
        finally:
            Path(made).unlink()
    return path.read_text("ascii").strip()
