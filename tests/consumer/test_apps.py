"""The apps and the HTTP interface in a project of others' making, from the wheels alone, as their pages describe it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from project.demo.processes import clean_environment
from tests.architecture.sources import ROOT

pytestmark = pytest.mark.slow

SETTINGS = """
INSTALLED_APPS += ["durable_objects", "durable_objects.http", "batcher", "cleaner", "reminders"]
MIDDLEWARE = ["durable_objects.http.errors.ErrorsAsJson", "durable_objects.http.audit.AuditLog", *MIDDLEWARE]
DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE"}
DURABLE_OBJECTS = {"DISPATCHED_BY": "command"}
DURABLE_OBJECTS_HTTP = {"RATE": "100/s"}
CELERY_BROKER_URL = "memory://"
ALLOWED_HOSTS = ["testserver"]
"""
CELERY = """
from celery import Celery
app = Celery("mysite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""
URLS = """
from django.urls import include
from durable_objects.http.api import GuardedAPI
api = GuardedAPI(title="Shop")
api.add_router("/batcher", "batcher.api.router")
api.add_router("/reminders", "reminders.api.router")
urlpatterns += [path("api/", api.urls), path("remind/", include("reminders.urls"))]
"""
#: What is seen of each app: a batch at its upstream, a reminder that was delivered, an entry that was cleaned away.
SEEN = """
import json, sys, threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
import django
django.setup()
import batcher, durable_objects
from batcher.models import Batcher
from cleaner.models import PeriodicCleaner
from django.test import Client
from durable_objects import now
from durable_objects.testing import FakeClock, run_due_alarms
from reminders.models import Delivery

got = []
class Upstream(BaseHTTPRequestHandler):
    def do_POST(self):
        got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["items"])
        self.send_response(200)
        self.end_headers()
    def log_message(self, *arguments):
        pass
upstream = HTTPServer(("127.0.0.1", 0), Upstream)
threading.Thread(target=upstream.serve_forever, daemon=True).start()

client = Client(headers={"Authorization": "Bearer " + sys.argv[1]})
with FakeClock() as clock:
    Batcher.objects.get_by_name("orders").configure(upstream_url=f"http://127.0.0.1:{upstream.server_port}/")
    posted = client.post("/api/batcher/orders", {"sku": "a-1"}, content_type="application/json")
    due = (now() + timedelta(minutes=1)).isoformat()
    put = client.put("/api/reminders/tea", {"message": "tea", "fire_at": due}, content_type="application/json")
    cache = PeriodicCleaner.objects.get_by_name("cache")
    cache.storage.put("old", {"timestamp": now() - timedelta(days=2)})
    cache.storage.put("new", {"timestamp": now()})
    cache.configure(interval=timedelta(minutes=1))
    clock.advance(timedelta(minutes=2))
    runs = {run.outcome for run in run_due_alarms()}
print(json.dumps({
    "answers": [posted.json(), put.status_code, Client().get("/api/batcher/orders").status_code,
                client.get("/api/nothing").json()["error"]["code"], Client().get("/admin/login/").status_code],
    "runs": sorted(runs), "batches": got, "deliveries": [each.status for each in Delivery.objects.all()],
    "kept": list(cache.storage.list(prefix="")),
    "from": sorted({module.__file__.split("site-packages")[-1] for module in (batcher, durable_objects)}),
}))
"""


#: Beside an app of the project's own with the same label, as docs/guides/batcher.md has it.
RELABELLED = """
INSTALLED_APPS += ["durable_objects", "ours.batcher", "mysite.apps.WebhookBatcherConfig"]
MIGRATION_MODULES = {"webhook_batcher": "mysite.webhook_batcher_migrations"}
DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE"}
DURABLE_OBJECTS = {"DISPATCHED_BY": "command"}
CELERY_BROKER_URL = "memory://"
ALLOWED_HOSTS = ["testserver"]
"""
APPS = """
from batcher.apps import BatcherConfig
class WebhookBatcherConfig(BatcherConfig):
    label = "webhook_batcher"
"""
PAGES = """
import json
import django
django.setup()
from datetime import timedelta
from batcher.models import Batch, Batcher
from django.contrib.auth.models import User
from django.test import Client
from durable_objects.testing import FakeClock, run_due_alarms
orders = Batcher.objects.get_by_name("orders")
orders.add_item({"sku": "a-1"})
with FakeClock() as clock:
    clock.advance(timedelta(minutes=1))
    run_due_alarms()
client = Client()
client.force_login(User.objects.create_superuser("root"))
pages = ["batcher/", f"batcher/{Batcher.objects.get().pk}/change/", "batch/", f"batch/{Batch.objects.get().pk}/change/"]
print(json.dumps([Batch.objects.get().status, Batch._meta.db_table,
                  *(client.get(f"/admin/webhook_batcher/{page}").status_code for page in pages)]))
"""


@pytest.fixture
def installed(environments: dict[str, Path]) -> Path:
    """The Python of an environment with the wheels, and what their extras ask for."""
    return environments["apps"]


def run(python: Path, folder: Path, *arguments: str) -> str:
    """What this Python prints in this folder; fails with all that it wrote when it does not end with 0."""
    environment = clean_environment(DJANGO_SETTINGS_MODULE="mysite.settings", PYTHONPATH=str(folder))
    command = [str(python), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def start_project(python: Path, folder: Path, more: dict[str, str]) -> None:
    """What Django's startproject and Celery's page make, with these texts below the files in ``mysite``."""
    run(python, folder, "-m", "django", "startproject", "mysite", ".", "--settings", "django.conf.global_settings")
    files = {"__init__.py": "from mysite.celery import app as celery_app\n", "celery.py": CELERY, **more}
    for name, text in files.items():
        with (folder / "mysite" / name).open("a") as file:
            file.write(text)


def test_the_apps_work_from_their_wheels(installed: Path, tmp_path: Path) -> None:
    """Installed by extras, put into INSTALLED_APPS and mounted: checks and migrations are clean, a batch goes out, a
    reminder is delivered, a cleaner cleans, and the routes ask for a token.
    """
    start_project(installed, tmp_path, {"settings.py": SETTINGS, "urls.py": URLS})
    run(installed, tmp_path, "manage.py", "migrate", "-v0")
    assert "no issues" in run(installed, tmp_path, "manage.py", "check", "--database", "default")
    assert "No changes" in run(installed, tmp_path, "manage.py", "makemigrations", "--check", "--dry-run")
    scopes = [f"--scope={app}:{right}" for app in ("batcher", "reminders") for right in ("read", "write")]
    made = json.loads(run(installed, tmp_path, "manage.py", "tokens", "create", "the shop", *scopes, "--json"))
    seen: dict[str, Any] = json.loads(run(installed, tmp_path, "-c", SEEN, made["token"]).splitlines()[-1])
    assert seen == {
        "answers": [{"queued": 1}, 200, 401, "not_found", 200],
        "runs": ["succeeded"],
        "batches": [[{"sku": "a-1"}]],
        "deliveries": ["delivered"],
        "kept": ["new"],
        "from": ["/batcher/__init__.py", "/durable_objects/__init__.py"],
    }


def test_an_app_beside_another_of_its_label(installed: Path, tmp_path: Path) -> None:
    """A project whose own app is called batcher gives ours another label, with migrations of its own: batches go out,
    and the pages of admin are there.
    """
    start_project(installed, tmp_path, {"settings.py": RELABELLED, "apps.py": APPS})
    for package in ("ours", "ours/batcher", "mysite/webhook_batcher_migrations"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    run(installed, tmp_path, "manage.py", "makemigrations", "webhook_batcher")
    run(installed, tmp_path, "manage.py", "migrate", "-v0")
    seen = json.loads(run(installed, tmp_path, "-c", PAGES).splitlines()[-1])
    assert seen == ["delivered", "webhook_batcher_batch", 200, 200, 200, 200]


@pytest.mark.parametrize(
    ("app", "missing"),
    [("durable_objects.http", "ninja"), ("reminders", "apprise, httpx, icalendar, standardwebhooks")],
)
def test_an_app_without_what_it_needs(environments: dict[str, Path], tmp_path: Path, app: str, missing: str) -> None:
    """An app whose extra was not installed ends every command in one sentence, with the line to type."""
    wheel_alone = environments["locked"]
    settings = f'INSTALLED_APPS += ["durable_objects", "{app}"]\nCELERY_BROKER_URL = "memory://"\n'
    start_project(wheel_alone, tmp_path, {"settings.py": settings})
    (tmp_path / "reminders").symlink_to(ROOT / "reminders")  # the apps come together, whichever extra brought them
    environment = clean_environment(DJANGO_SETTINGS_MODULE="mysite.settings", PYTHONPATH=str(tmp_path))
    command = [str(wheel_alone), "manage.py", "check"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    extra = app.rpartition(".")[2]
    assert done.stderr.splitlines()[-1] == (
        f"django.core.exceptions.ImproperlyConfigured: {app} is in INSTALLED_APPS and needs {missing}, not installed "
        f'here: pip install "django-durable-objects[{extra}]"'
    )
