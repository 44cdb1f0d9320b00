"""Foreign projects, ready to be used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.consumer import installed
from tests.consumer.foreign import Foreign
from tests.support import services


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with all tables of the foreign project: made once, copied for each test."""
    folder = tmp_path_factory.mktemp("migrated")
    Foreign(folder).manage("migrate", "-v0").well()
    return folder / "default.sqlite3"


@pytest.fixture
def foreign(tmp_path: Path, migrated: Path) -> Callable[..., Foreign]:
    """``foreign(**settings)`` makes the project on an SQLite database that is migrated."""

    def make(**settings: Any) -> Foreign:
        project = Foreign(tmp_path / "foreign", **settings)
        shutil.copy(migrated, project.folder / "default.sqlite3")
        return project

    return make


@pytest.fixture(scope="session")
def migrated_postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a PostgreSQL database with all tables of the foreign project: made once, copied for each test."""
    with services.fresh_postgresql() as url:
        Foreign(tmp_path_factory.mktemp("migrated"), {"default": url}).manage("migrate", "-v0").well()
        yield urlsplit(url).path.removeprefix("/")


@pytest.fixture
def postgresql(tmp_path: Path, migrated_postgresql: str) -> Iterator[Callable[..., Foreign]]:
    """As ``foreign``, on a PostgreSQL database of the test's own."""
    with services.fresh_postgresql(template=migrated_postgresql) as url:
        yield lambda **settings: Foreign(tmp_path / "foreign", {"default": url}, **settings)


#: The gate tries a project on PostgreSQL only.
ON_EACH = [
    pytest.param("sqlite", marks=pytest.mark.chaos),
    pytest.param("postgresql", marks=pytest.mark.services("postgresql")),
]


@pytest.fixture(params=ON_EACH)
def on_each(request: pytest.FixtureRequest) -> Any:
    """As ``foreign``, on SQLite and on PostgreSQL."""
    return request.getfixturevalue("foreign" if request.param == "sqlite" else "postgresql")


class Environments(dict[str, Path]):
    """The Python of each environment of ``installed.RECIPES``, made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __missing__(self, name: str) -> Path:
        """Make it, or wait for another process of the run that does."""
        self[name] = installed.environment(name, self._folder)
        return self[name]


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Environments:
    """``environments["locked"]``: the Python of an environment that has the wheel, one for all processes of the run."""
    base = tmp_path_factory.getbasetemp()
    return Environments((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "environments")
