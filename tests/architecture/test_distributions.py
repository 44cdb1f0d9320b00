"""What others install: source distributions, and the wheels that are built from them."""

from __future__ import annotations

import email
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from project.demo.processes import clean_environment
from tests.architecture.sources import ROOT, tracked_files
from tests.support.wheels import build_wheels

#: What no wheel may be without: the types' marker, and what Django's pages are made of.
NEEDED = {
    "durable_objects": {"py.typed", "templates/admin/durable_objects/overview/panels.html",
                        "static/durable_objects/admin.css",
                        "http/templates/admin/durable_objects_http/apitoken/made.html"},
    "batcher": {"py.typed", "templates/admin/batcher/batcher.html", "migrations/0001_initial.py"},
    "cleaner": {"py.typed", "static/cleaner/admin.css", "migrations/0001_initial.py"},
    "reminders": {"py.typed", "static/reminders/page.css", "templates/reminders/email.txt",
                  "migrations/0001_initial.py"},
}  # fmt: skip
APP_NAMES = {"batcher", "cleaner", "reminders"}
ENGINE, APPS = "django_durable_objects-", "django_durable_objects_apps-"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What scripts/build-wheels makes of this clone."""
    if not (ROOT / ".git").exists():
        pytest.skip("no clone: scripts/build-wheels takes the files that git knows")
    return build_wheels(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def sdist(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The engine's source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("unpacked")
    (archive,) = built.glob(f"{ENGINE}*.tar.gz")
    subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)
    (unpacked,) = folder.iterdir()
    return unpacked


@pytest.fixture(params=[ENGINE, APPS])
def wheel(built: Path, request: pytest.FixtureRequest) -> zipfile.ZipFile:
    """The wheel of the engine, and that of the apps; each is built from its source distribution."""
    (made,) = built.glob(f"{request.param}*.whl")
    return zipfile.ZipFile(made)


def metadata(wheel: zipfile.ZipFile) -> Message:
    """What an index shows of it."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_string(wheel.read(name).decode())


def test_the_source_distribution_is_the_tree(sdist: Path) -> None:
    """Docs, tests and all else that git knows are in it, so that its tests run and its README's pages are there."""
    missing = [name for path in tracked_files() if not (sdist / (name := path.relative_to(ROOT))).is_file()]
    assert missing == []


def test_a_wheel_is_its_packages(wheel: zipfile.ZipFile) -> None:
    """Every file of the engine is in its wheel, every file of the apps in theirs, and beside them only the metadata."""
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    packages = {"durable_objects"} if metadata(wheel)["Name"] == "django-durable-objects" else APP_NAMES
    tracked = {path.relative_to(ROOT).as_posix() for path in tracked_files()}
    assert held == {name for name in tracked if name.partition("/")[0] in packages}
    assert held >= {f"{package}/{name}" for package in packages for name in NEEDED[package]}


def test_a_wheel_names_its_licence(wheel: zipfile.ZipFile) -> None:
    """The licence's text and its SPDX name are in the wheel; no e-mail address and no place on the web is."""
    found = metadata(wheel)
    assert found["License-Expression"] == "BSD-3-Clause"
    (text,) = (name for name in wheel.namelist() if name.endswith(".dist-info/licenses/LICENSE"))
    assert wheel.read(text) == (ROOT / "LICENSE").read_bytes()
    assert found["Author"] == "The durable objects developers"
    assert [key for key in ("Author-email", "Home-page", "Project-URL") if found[key]] == []


def test_the_apps_are_extras_of_the_engine(built: Path) -> None:
    """Each app is an extra of the engine, which brings what the app needs; they ask for the engine of their version."""
    found = {prefix: metadata(zipfile.ZipFile(next(built.glob(f"{prefix}*.whl")))) for prefix in (ENGINE, APPS)}
    assert found[ENGINE]["Version"] == found[APPS]["Version"]
    asked = {prefix: set(each.get_all("Requires-Dist", [])) for prefix, each in found.items()}
    assert f"django-durable-objects=={found[ENGINE]['Version']}" in asked[APPS]
    for app in APP_NAMES:
        assert f'django-durable-objects-apps[{app}]; extra == "{app}"' in asked[ENGINE]
        assert [each for each in asked[APPS] if each.endswith(f'extra == "{app}"')]
    needed = {"django>=5.2", "celery>=5.5", "click>=8.1.2", "cronsim>=2.6"}
    assert {each for each in asked[ENGINE] if "extra" not in each} == needed


def test_the_plugin_may_be_named_where_it_is_installed(built: Path, tmp_path: Path) -> None:
    """``pytest_plugins`` in a conftest does no harm where the wheel's entry point has brought the plugin already."""
    zipfile.ZipFile(next(built.glob(f"{ENGINE}*.whl"))).extractall(tmp_path / "site")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["durable_objects.pytest_plugin"]')
    (tmp_path / "test_it.py").write_text("def test_it(): pass")
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(tmp_path), str(tmp_path)]
    environment = clean_environment(PYTHONPATH=str(tmp_path / "site"))
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "1 passed" in done.stdout, done.stderr[-500:]
