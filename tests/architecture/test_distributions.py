"""What others install: the source distribution, and the wheel that is built from it."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from project.demo.processes import clean_environment
from tests.architecture.sources import ROOT, tracked_files

BUILD = "import sys; from setuptools import build_meta as backend; getattr(backend, sys.argv[1])(sys.argv[2])"
#: What no wheel may be without: the licence, the types' marker, and what Django's pages are made of.
NEEDED = {"py.typed", "templates/admin/durable_objects/overview.html", "static/durable_objects/admin.css"}


def build(what: str, source: Path, into: Path) -> Path:
    """Run a hook of the build backend, without the network; the one file that it made."""
    into.mkdir()
    command = [sys.executable, "-I", "-c", BUILD, f"build_{what}", str(into)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    (made,) = into.iterdir()
    return made


def has_setuptools() -> bool:
    """Whether the version that pyproject.toml asks for is here: an environment may be older than the lock."""
    try:
        return int(version("setuptools").partition(".")[0]) >= 77
    except PackageNotFoundError:
        return False


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of the tracked files, unpacked."""
    if not has_setuptools() and not os.environ.get("CI"):
        pytest.skip("setuptools is not there, or older than pyproject.toml asks for: make setup")
    folder = tmp_path_factory.mktemp("sdist")
    for path in tracked_files():
        copy = folder / "tree" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    made = build("sdist", folder / "tree", folder / "made")
    (folder / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", made, "-C", folder / "unpacked"], check=True)
    (unpacked,) = (folder / "unpacked").iterdir()
    return unpacked


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel that the source distribution makes."""
    return zipfile.ZipFile(build("wheel", sdist, tmp_path_factory.mktemp("wheel") / "made"))


def metadata(wheel: zipfile.ZipFile) -> Message:
    """What an index shows of it."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_string(wheel.read(name).decode())


def test_the_source_distribution_is_the_tree(sdist: Path) -> None:
    """Docs, tests and all else that git knows are in it, so that its tests run and its README's pages are there."""
    missing = [name for path in tracked_files() if not (sdist / (name := path.relative_to(ROOT))).is_file()]
    assert missing == []


def test_the_wheel_is_the_engine(sdist: Path, wheel: zipfile.ZipFile) -> None:
    """Every file of the engine is in the wheel, and beside it only the metadata."""
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    engine = {path.relative_to(ROOT).as_posix() for path in tracked_files() if "durable_objects" in path.parts}
    assert held == {name for name in engine if name.startswith("durable_objects/")}
    assert held >= {f"durable_objects/{name}" for name in NEEDED}


def test_the_wheel_names_its_licence(wheel: zipfile.ZipFile) -> None:
    """The licence's text and its SPDX name are in the wheel; no e-mail address and no place on the web is."""
    said = metadata(wheel)
    assert said["License-Expression"] == "BSD-3-Clause"
    (text,) = (name for name in wheel.namelist() if name.endswith(".dist-info/licenses/LICENSE"))
    assert wheel.read(text) == (ROOT / "LICENSE").read_bytes()
    assert said["Author"] == "The durable objects developers"
    assert [key for key in ("Author-email", "Home-page", "Project-URL") if said[key]] == []


@pytest.mark.slow
def test_the_plugin_may_be_named_where_it_is_installed(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """``pytest_plugins`` in a conftest does no harm where the wheel's entry point has brought the plugin already."""
    wheel.extractall(tmp_path / "site")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["durable_objects.pytest_plugin"]')
    (tmp_path / "test_it.py").write_text("def test_it(): pass")
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(tmp_path), str(tmp_path)]
    environment = clean_environment(PYTHONPATH=str(tmp_path / "site"))
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "1 passed" in done.stdout, done.stderr[-500:]
