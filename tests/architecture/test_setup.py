"""`make setup` on a bare machine: which Python it takes, what it says, and how it mends what was left half-made."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from project.demo.processes import wait_for
from tests.architecture.sources import ROOT

SHELL = shutil.which("dash") or "/bin/sh"
#: Names that shells of other projects set.
THEIRS = (
    *(
        "DATABASE_URL",
        "CELERY_BROKER_URL",
        "CELERY_SKIP_CHECKS",
        "SECRET_KEY",
        "DEBUG",
        "ALLOWED_HOSTS",
        "API_TOKENS",
        "API_RATE",
    ),
    *("PORT", "GIT_DIR", "DJANGO_SETTINGS_MODULE", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTEST_ADDOPTS"),
)
REFUSES = "echo 'this version is not installed' >&2; exit 127"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder that can be put on PATH."""
    made = tmp_path / "bin"
    made.mkdir()
    return made


def fake(path: Path, body: str) -> Path:
    """An executable shell script at ``path``."""
    path.write_text(f"#!{SHELL}\n{body}\n")
    path.chmod(0o755)
    return path


def sh(script: str, *arguments: str, env: dict[str, str], cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run one of ``scripts`` under dash, where there is one, with nothing but ``env`` as its environment."""
    return subprocess.run(
        [SHELL, f"scripts/{script}", *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


def test_the_newest_python_in_range_is_taken(folder: Path) -> None:
    """python3.13 comes before 3.12, 3.11 and python3."""
    for version in ("3.11", "3.13", "3.12"):
        fake(folder / f"python{version}", f"echo {version}")
    assert sh("find-python", env={"PATH": str(folder)}).stdout == f"{folder}/python3.13\n"


def test_a_python_that_does_not_run_is_passed_over(folder: Path, tmp_path: Path) -> None:
    """A version manager's shim that refuses hides neither an older version nor the same one further along PATH."""
    fake(folder / "python3.13", REFUSES)
    fake(folder / "python3.12", REFUSES)
    behind = tmp_path / "behind it"
    behind.mkdir()
    fake(behind / "python3.12", "echo 3.12")
    fake(behind / "python3.11", "echo 3.11")
    assert sh("find-python", env={"PATH": f"{folder}:{behind}"}).stdout == f"{behind}/python3.12\n"


def test_python3_counts_by_what_it_is(folder: Path) -> None:
    """The name python3 is taken when its version is in range, whatever it is called."""
    fake(folder / "python3", "echo 3.12")
    assert sh("find-python", env={"PATH": str(folder)}).stdout == f"{folder}/python3\n"


def test_what_was_found_instead_is_said(folder: Path) -> None:
    """Where nothing fits, one line says what is needed and what there is, and nothing is printed to be run."""
    fake(folder / "python3.13", REFUSES)
    fake(folder / "python3", "echo 3.9")
    run = sh("find-python", env={"PATH": str(folder)})
    assert (run.returncode, run.stdout) == (1, "")
    found = f"{folder}/python3.13 (does not run), {folder}/python3 (3.9)"
    assert run.stderr == f"Python 3.11, 3.12 or 3.13 is needed; found on PATH: {found}.\n"


def test_no_python_at_all_is_said(folder: Path) -> None:
    """An empty machine gets a sentence, not a shell's error."""
    run = sh("find-python", env={"PATH": str(folder)})
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == "Python 3.11, 3.12 or 3.13 is needed; found on PATH: no python3 at all.\n"


def test_versions_that_are_asked_for(folder: Path, tmp_path: Path) -> None:
    """With versions as arguments the first of them that there is counts, pyenv's too, and none beside them."""
    behind = tmp_path / "pyenv" / "versions" / "3.14.1" / "bin"
    behind.mkdir(parents=True)
    fake(folder / "python3.12", "echo 3.12")
    fake(behind / "python3.14", "echo 3.14")
    given = {"PATH": str(folder), "PYENV_ROOT": str(tmp_path / "pyenv")}
    assert sh("find-python", "3.14", "3.12", env=given).stdout == f"{behind}/python3.14\n"
    assert sh("find-python", "3.13", "3.12", env=given).stdout == f"{folder}/python3.12\n"
    run = sh("find-python", "3.11", env={"PATH": str(folder)})
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("Python 3.11 is needed; found on PATH: ")


def test_a_missing_ensurepip_names_the_package(folder: Path) -> None:
    """Where a Python lacks ensurepip one line names what to install, for that version."""
    fake(folder / "python3", "echo 3.11; echo ensurepip")
    run = sh("find-python", env={"PATH": str(folder)})
    assert (run.returncode, run.stdout) == (1, "")
    assert "apt-get install python3.11-venv" in run.stderr
    assert run.stderr.count("\n") == 1


def test_another_python_stands_in_for_one_without_ensurepip(folder: Path) -> None:
    """A Python that cannot make an environment is passed over while another can."""
    fake(folder / "python3.13", "echo 3.13; echo ensurepip venv")
    fake(folder / "python3.11", "echo 3.11")
    assert sh("find-python", env={"PATH": str(folder)}).stdout == f"{folder}/python3.11\n"


class Checkout:
    """A copy of the scripts with a lock of its own and a Python that only writes down what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout of ours"
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        self.lock = self.root / "requirements" / "development.txt"
        self.lock.parent.mkdir()
        self.lock.write_text("django==1\n")
        self.log = folder / "log"
        self.log.touch()
        tools = folder / "tools"
        tools.mkdir()
        for tool in ("sh", "dirname", "cat", "cp", "rm", "mkdir", "chmod"):
            (tools / tool).symlink_to(shutil.which(tool) or tool)
        inside = fake(
            folder / "python-inside",
            f'case "$*" in *pip*) echo "pip $* ${{PIP_TARGET-}}" >> "{self.log}"; test ! -e "{folder}/offline" ;; esac',
        )
        fake(
            tools / "python3",
            'case "$*" in\n'
            f'*"-m venv"*) echo venv >> "{self.log}"; mkdir -p .venv/bin; cp "{inside}" .venv/bin/python ;;\n'
            "*) echo 3.12 ;;\n"
            "esac",
        )
        self.path = str(tools)
        self.offline = folder / "offline"

    def make(self, **environment: str) -> int:
        """Run make-venv; its exit status."""
        return sh("make-venv", cwd=self.root, env={"PATH": self.path, **environment}).returncode

    def asked(self) -> list[str]:
        """What the Python was asked since the last look: ``venv`` and ``pip``, in order."""
        words = [line.split()[0] for line in self.log.read_text().splitlines()]
        self.log.write_text("")
        return words


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A checkout in which nothing was set up yet."""
    return Checkout(tmp_path)


def test_the_environment_is_made_once(checkout: Checkout) -> None:
    """The first call makes and fills it, the second one does nothing."""
    assert (checkout.make(), checkout.asked()) == (0, ["venv", "pip"])
    assert (checkout.make(), checkout.asked()) == (0, [])


def test_a_changed_lock_installs_again(checkout: Checkout) -> None:
    """An environment is as its lock says, also after the lock was changed by a checkout."""
    checkout.make()
    checkout.asked()
    checkout.lock.write_text("django==2\n")
    assert (checkout.make(), checkout.asked()) == (0, ["venv", "pip"])


def test_a_half_made_environment_is_mended(checkout: Checkout) -> None:
    """An installation that broke off fails, is not taken for a whole one, and is made again by the next call."""
    checkout.offline.touch()
    assert (checkout.make() != 0, checkout.asked()) == (True, ["venv", "pip"])
    checkout.offline.unlink()
    assert (checkout.make(), checkout.asked()) == (0, ["venv", "pip"])


def test_an_environment_whose_python_is_gone_is_mended(checkout: Checkout) -> None:
    """The Python that an environment was made with may be removed by the system."""
    checkout.make()
    checkout.asked()
    (checkout.root / ".venv" / "bin" / "python").unlink()
    assert (checkout.make(), checkout.asked()) == (0, ["venv", "pip"])


def test_the_callers_settings_for_pip_do_not_lead_elsewhere(checkout: Checkout) -> None:
    """PIP_TARGET and the like, meant for other installs, are not followed."""
    checkout.make(PIP_TARGET="elsewhere")
    assert "elsewhere" not in checkout.log.read_text()


def test_the_callers_environment_does_not_leak() -> None:
    """Demo and tests see nothing that was meant for another project, and all that was meant for them."""
    leaks = dict.fromkeys(THEIRS, "theirs")
    kept = {"PATH": os.environ["PATH"], "DEMO_INPUT": "a file", "TEST_DATABASE_URL": "sqlite:///x", "LC_ALL": "C"}
    run = sh("clean-env", "env", env=leaks | kept | {"no_proxy": "corp", "NO_PROXY": "corp"})
    seen = dict(line.split("=", 1) for line in run.stdout.splitlines())
    assert leaks.keys() & seen.keys() == set()
    assert kept.items() <= seen.items()
    assert seen["PYTHONUTF8"] == "1"
    assert seen["no_proxy"] == seen["NO_PROXY"] == "127.0.0.1,localhost,::1,corp"


def test_what_ended_is_started_again() -> None:
    """Each process of the Procfile, each systemd unit and each service of compose.yaml that runs on."""
    processes = [line for line in (ROOT / "Procfile").read_text("utf-8").splitlines() if not line.startswith("#")]
    kept = dict(line.split(": sh scripts/keep ", 1) for line in processes)
    units = {path.stem.removeprefix("site-"): path.read_text("utf-8") for path in (ROOT / "docs/systemd").iterdir()}
    assert kept.keys() == units.keys()
    for name, unit in units.items():
        assert "Restart=always" in unit, name
        assert "StartLimitIntervalSec=0" in unit, name
        assert kept[name].replace("$PORT", "8000") in unit, name
    services = (ROOT / "compose.yaml").read_text("utf-8").partition("\nservices:\n")[2].partition("\nvolumes:\n")[0]
    for service in re.split(r"^  (?=\w+:$)", services, flags=re.MULTILINE)[1:]:
        assert service.startswith("migrate:") or "unless-stopped" in service or "<<: *site" in service, service


@pytest.mark.slow
def test_keep_starts_a_command_again_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """It runs once more a second after it ended, whatever its code; a signal to both ends both, in order."""
    code = f"import pathlib, sys, time; p = pathlib.Path({str(tmp_path / 'runs')!r}); p.open('a').write('x'); "
    code += "len(p.read_text()) < 3 and sys.exit(1); time.sleep(60)"
    keep = subprocess.Popen(["sh", str(ROOT / "scripts/keep"), sys.executable, "-c", code], start_new_session=True)
    runs = tmp_path / "runs"
    wait_for("three runs", lambda: runs.exists() and len(runs.read_text()), seconds=20, until=lambda count: count == 3)
    os.killpg(keep.pid, signal.SIGTERM)
    assert keep.wait(10) is not None
    assert len(runs.read_text()) == 3


@pytest.mark.parametrize("active", [False, True])
def test_the_procfiles_processes_are_those_of_the_environment_here(tmp_path: Path, active: bool) -> None:
    """From a fresh clone ``.venv/bin/honcho start`` finds gunicorn and celery; an active environment stays in force."""
    for place, word in ((tmp_path / ".venv" / "bin", "here"), (tmp_path / "active" / "bin", "active")):
        place.mkdir(parents=True)
        fake(place / "serve", f"echo {word}; exec sleep 60")
    (tmp_path / "scripts").mkdir()
    keep = shutil.copy(ROOT / "scripts" / "keep", tmp_path / "scripts")
    theirs = {"VIRTUAL_ENV": str(tmp_path / "active"), "PATH": f"{tmp_path / 'active' / 'bin'}:{os.environ['PATH']}"}
    given = theirs if active else {"PATH": os.environ["PATH"]}
    command = [SHELL, keep, "serve"]
    with subprocess.Popen(command, env=given, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == ("active\n" if active else "here\n")
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def test_each_set_of_the_matrix_that_is_named_is_there() -> None:
    """CI and the pages name sets of versions that scripts/matrix has; without a name it runs all of them."""
    script = (ROOT / "scripts" / "matrix").read_text("utf-8")
    there = set(re.findall(r"^#   (\w+)  ", script, re.MULTILINE))
    pages = [ROOT / ".ci/run", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r'make matrix\s+ARGS="?(\w+)', page.read_text("utf-8"))}
    assert {"oldest", "newest", "django60"} <= named <= there
    for sets in (r"\$\{sets:-([\w ]+)\}", r"^ +([\w |]+)\) sets="):
        listed = re.search(sets, script, re.MULTILINE)
        assert listed is not None
        assert set(re.findall(r"\w+", listed[1])) | {"unfold"} == there  # which is asked for by name


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        ("beside it echo done; join_all; echo held", "it: done\nheld\n"),
        ("beside it sh -c 'echo broken; exit 3'; join_all; echo held", "\n== it failed:\nbroken\n"),
        ("beside it sh -c 'sleep 600 & wait'; false; join_all", ""),
    ],
    ids=["it holds", "it fails", "what runs before it fails"],
)
def test_what_ci_runs_beside_fails_with_it(tmp_path: Path, commands: str, said: str) -> None:
    """CI does not hold without what it runs in the background, and leaves nothing running when it fails."""
    script = (ROOT / ".ci/run").read_text("utf-8")
    functions = script[script.index("declare -A running") : script.index("install_missing() {")]
    (tmp_path / "var").mkdir()
    command = ["bash", "-euo", "pipefail", "-c", f"{functions}\n{commands}"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.communicate(timeout=60)[0] == said
    assert (process.returncode == 0) == ("held" in said)
    wait_for("all of it to end", lambda: _running_in(tmp_path), seconds=20, until=lambda pids: not pids)


def _running_in(folder: Path) -> list[str]:
    """The processes that run in this folder."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):  # another user's, or over by now
            found += [each.parent.name] if each.readlink() == folder else []
    return found
