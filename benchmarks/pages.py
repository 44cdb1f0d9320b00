"""What each page of the admin costs with the rows that ``benchmarks.fill`` makes.

    python -m benchmarks.pages --database postgresql://… [--only alarm] [--times 7] [--write]

Addresses come from the admin's registry, none is written here: of each model its list, each choice of each filter, each
two choices of two filters, each order, searches, the last page, and the pages of one row; every other page without an
argument. Of each the queries and the CPU of both sides (this process, and the PostgreSQL process that answers it, which
has to be on this machine). Prints JSON; ``--write`` writes the table in docs/why/performance.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

#: What a page may cost: queries, and seconds of CPU at the 95th percentile.
MOST_QUERIES, MOST_CPU = 20, 0.300
#: How often an address that seems too dear is asked for once more.
AGAIN = 10
PAGE = Path(__file__).resolve().parents[1] / "docs/why/performance.md"
BEGIN, END = "<!-- written by python -m benchmarks.pages -->\n", "<!-- end of what benchmarks.pages writes -->\n"
#: Answers of pages that show something; red health is one.
SHOWN = {200, 302, 503}
#: What a search is asked for where a list takes selections.
SELECTIONS = (
    "state:dead",
    "state:retrying",
    "late>5m",
    "due<1h",
    "tried>3",
    "error:declined",
    "key:customer",
    "class:{}",
)


@dataclass
class Cost:
    """What an address cost; CPU in ms, this process's and PostgreSQL's together."""

    model: str
    kind: str
    url: str
    status: int = 0
    queries: int = 0
    cpu: list[float] = field(default_factory=list)
    database: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON, percentiles for the single figures."""
        spent = {name: sorted(getattr(self, name)) for name in ("cpu", "database", "wall")}
        found = {k: v for k, v in asdict(self).items() if k not in spent}
        for name, values in spent.items():
            found |= {f"{name}_p50": round(_at(values, 0.5), 1), f"{name}_p95": round(_at(values, 0.95), 1)}
        return found


def _at(values: list[float], share: float) -> float:
    return values[min(int(share * len(values)), len(values) - 1)]


class Addresses:
    """Every address of an admin site that only shows something."""

    def __init__(self, site: Any, user: Any) -> None:
        self.site, self.user = site, user

    def all(self) -> Iterator[Cost]:
        """Yield them, each once."""
        seen: set[str] = set()
        found = itertools.chain(*(self.of_model(model) for model in self.site._registry), self._others())
        for cost in found:
            if cost.url not in seen:
                seen.add(cost.url)
                yield cost

    def of_model(self, model: Any) -> Iterator[Cost]:
        """Yield those of one registered model."""
        from django.urls import reverse

        name = model._meta.label_lower
        base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        shown, changes = reverse(f"{base}_changelist"), self._list(model)
        if changes is None:
            return
        yield Cost(name, "list", shown)
        for kind, query in self._queries(model, changes):
            yield Cost(name, kind, f"{shown}{query}")
        for row in self._rows(model):
            for page in ("change", "history", "delete"):
                yield Cost(name, page, reverse(f"{base}_{page}", args=[row]))
        yield Cost(name, "add", reverse(f"{base}_add"))

    def _queries(self, model: Any, changes: Any) -> Iterator[tuple[str, str]]:
        choices = [_choices(each, changes) for each in changes.filter_specs]
        for query in itertools.chain(*choices):
            yield "filter", f"?{urlencode(query)}"
        for one, other in itertools.combinations(choices, 2):
            for first, second in itertools.product(one, other):
                yield "two filters", f"?{urlencode({**first, **second})}"
        for number, column in enumerate(changes.list_display):
            if changes.get_ordering_field(column):
                yield from (("order", f"?o={sign}{number}") for sign in ("", "-"))
        if changes.search_fields:
            yield from (("search", f"?{urlencode({'q': text})}") for text in self._texts(model))
        if (pages := changes.paginator.num_pages) > 1:
            yield "last page", f"?p={pages}"
            yield from (("last page", f"?{urlencode({**of_one[0], 'p': 2})}") for of_one in choices if of_one)

    def _texts(self, model: Any) -> Iterator[str]:
        """Texts that find one row, many, and none."""
        from durable_objects.tables import Alarm, Object

        for row in self._rows(model, few=True):
            text = str(model._default_manager.get(pk=row))
            yield from (text, text[:8], text[:3])
        yield "nothing-has-this"
        if model in {Alarm, Object} or issubclass(model, Object):
            yield from (each.format("tests.Scripted") for each in SELECTIONS)
        if model._meta.app_label == "reminders":
            yield from ("person-1", "person")

    def _rows(self, model: Any, *, few: bool = False) -> list[Any]:
        """Keys of the first row, the last one, and one between; of objects one of each class."""
        from durable_objects.tables import Alarm, Object

        if model in {Object, Alarm} and not few:
            firsts = Object.objects.raw(
                "SELECT DISTINCT ON (kind_id) id FROM durable_objects_object ORDER BY kind_id, id"
            )
            return [row.pk for row in firsts]
        keys = model._default_manager.order_by("pk").values_list("pk", flat=True)
        return [*keys[:1], *keys.reverse()[:1]] if keys[:1] else []

    def _list(self, model: Any) -> Any:
        """Return the list as Django would show it."""
        from django.contrib.messages.storage.fallback import FallbackStorage
        from django.test import RequestFactory

        request: Any = RequestFactory().get("/")
        request.user, request.session = self.user, {}
        request._messages = FallbackStorage(request)
        model_admin = self.site._registry[model]
        return model_admin.get_changelist_instance(request) if model_admin.has_view_permission(request) else None

    def _others(self) -> Iterator[Cost]:
        """Yield pages without an argument that belong to no list: the index, apps, the overview and its parts."""
        from django.urls import NoReverseMatch, get_resolver, reverse

        for name in self._names(get_resolver()):
            try:
                yield Cost("pages of their own", "page", reverse(name))
            except NoReverseMatch:
                continue
        for label in {model._meta.app_label for model in self.site._registry}:
            yield Cost("pages of their own", "page", reverse("admin:app_list", args=[label]))

    def _names(self, resolver: Any, prefix: str = "") -> Iterator[str]:
        for pattern in resolver.url_patterns:
            if hasattr(pattern, "url_patterns"):
                space = getattr(pattern, "namespace", None)
                yield from self._names(pattern, f"{prefix}{space}:" if space else prefix)
            elif pattern.name and pattern.name not in {"logout", "jsi18n", "login", "password_change"}:
                yield f"{prefix}{pattern.name}"


def _choices(each: Any, changes: Any) -> list[dict[str, str]]:
    """Return the parameters of a filter's choices, without the one for all."""
    from django.http import QueryDict

    found = [QueryDict(str(choice["query_string"]).lstrip("?")).dict() for choice in each.choices(changes)]
    return [{key: str(value) for key, value in query.items()} for query in found if query]


def measure(costs: list[Cost], client: Any, times: int) -> None:
    """Ask for each address so many times, and once before."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with connection.cursor() as cursor:
        cursor.execute("SET max_parallel_workers_per_gather = 0")  # all of its CPU is that of one process
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    schedule = Path(f"/proc/{pid}/schedstat")
    for number, cost in enumerate(costs):
        with CaptureQueriesContext(connection) as captured:
            cost.status = client.get(cost.url).status_code
        cost.queries = len(captured)
        for _ in range(times):
            begun, python, database = time.perf_counter(), time.process_time(), _nanoseconds(schedule)
            client.get(cost.url)
            took = (_nanoseconds(schedule) - database) / 1e6
            cost.database.append(took)
            cost.cpu.append((time.process_time() - python) * 1e3 + took)
            cost.wall.append((time.perf_counter() - begun) * 1e3)
            if cost.cpu[-1] > 20 * MOST_CPU * 1e3:
                break
        if number % 50 == 0:
            print(f"{number} of {len(costs)}", file=sys.stderr, flush=True)
        if too_dear([cost.as_dict()]):
            print(f"{cost.queries} queries, {max(cost.cpu):.0f} ms: {cost.url}", file=sys.stderr, flush=True)


def _nanoseconds(schedule: Path) -> int:
    """Return how long PostgreSQL's process has been on a CPU."""
    return int(schedule.read_text().split()[0])


def table(measured: list[dict[str, Any]], rows: dict[str, int], at: str) -> str:
    """Return the part of the page: a line for each model."""
    by_model: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for each in measured:
        by_model[each["model"]].append(each)
    lines = [
        f"Measured at {at}, with " + ", ".join(f"{count:,} {name}" for name, count in rows.items()) + ".",
        "",
        "| model | addresses | queries at most | CPU p50 (ms) | CPU p95 of the dearest (ms) | which that is |",
        "|---|---|---|---|---|---|",
    ]
    for model, of_it in sorted(by_model.items()):
        dearest = max(of_it, key=lambda each: each["cpu_p95"])
        middle = sorted(each["cpu_p50"] for each in of_it)[len(of_it) // 2]
        query = dearest["url"].partition("?")[2] or dearest["kind"]
        queries = max(each["queries"] for each in of_it)
        figures = f"{len(of_it)} | {queries} | {middle:.0f} | {dearest['cpu_p95']:.0f}"
        lines.append(f"| {model.replace('.', ': ')} | {figures} | {dearest['kind']}: `{query}` |")
    over = [each for each in measured if each["queries"] > MOST_QUERIES or each["cpu_p95"] > MOST_CPU * 1e3]
    lines += [
        "",
        f"Of {len(measured)} addresses {len(over)} need more than {MOST_QUERIES} queries or {MOST_CPU * 1e3:.0f} ms.",
    ]
    return "\n".join(lines) + "\n"


def too_dear(measured: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those that need too many queries or too much of a CPU."""
    return [each for each in measured if each["queries"] > MOST_QUERIES or each["cpu_p95"] > MOST_CPU * 1e3]


def main() -> None:
    """Measure the database that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--database", required=True, help="one that benchmarks.fill has filled")
    parser.add_argument("--only", default="", help="addresses of models, or addresses, that have this text")
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="write the table in docs/why/performance.md")
    options = parser.parse_args()
    os.environ |= {"DATABASE_URL": options.database, "DJANGO_SETTINGS_MODULE": "tests.site_settings", "DEBUG": "0"}
    for name, value in {"SECRET_KEY": "x" * 50, "API_TOKENS": "a-token-of-the-tests", "ALLOWED_HOSTS": "*"}.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("CELERY_BROKER_URL", "memory://")
    import django
    from django.conf import settings

    django.setup()
    settings.ROOT_URLCONF, settings.SECURE_SSL_REDIRECT = "tests.admin_urls", False
    settings.WHITENOISE_AUTOREFRESH = True
    measured = measure_all(options.only, options.times)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    rows = _rows()
    print(json.dumps({"at": at, "rows": rows, "pages": measured}, indent=1))
    if options.write:
        before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}{table(measured, rows, at)}{END}{rest.partition(END)[2]}", "utf-8")


def measure_all(only: str, times: int) -> list[dict[str, Any]]:
    """Measure the addresses that have this text, those that seem too dear once more; return those that show something,
    as JSON.
    """
    from django.contrib.auth.models import User
    from django.test import Client

    from tests import admin_urls

    user = User.objects.filter(is_superuser=True).first() or User.objects.create_superuser("operator")
    client = Client(headers={"Authorization": f"Bearer {os.environ['API_TOKENS']}"})
    client.force_login(user)
    costs = [cost for cost in Addresses(admin_urls.site, user).all() if only in f"{cost.model} {cost.url}"]
    logging.disable(logging.CRITICAL)  # who asks for everything is told of some that it is forbidden
    measure(costs, client, times)
    again = [cost for cost in costs if too_dear([cost.as_dict()])]
    for cost in again:  # what something else on the machine has disturbed is not dear
        cost.cpu, cost.database, cost.wall = [], [], []
    measure(again, client, AGAIN)
    return [cost.as_dict() for cost in costs if cost.status in SHOWN]


def _rows() -> dict[str, int]:
    from django.apps import apps
    from django.db import connection

    labels = ("durable_objects.Object", "durable_objects.AlarmRun", "durable_objects.Entry", "batcher.Batch",
              "reminders.Delivery", "cleaner.CleanerRun")  # fmt: skip
    models = [apps.get_model(label) for label in labels]
    with connection.cursor() as cursor:
        found = {}
        for model in models:
            cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE relname = %s", [model._meta.db_table])
            found[str(model._meta.verbose_name_plural)] = int(cursor.fetchone()[0])
    return found


if __name__ == "__main__":
    main()
