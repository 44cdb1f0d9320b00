"""The operations of the HTTP interface and their scopes, as its own description has them."""

from __future__ import annotations

from docs.generated.texts import plain
from durable_objects.http import scopes
from durable_objects.http.auth import READING
from durable_objects.http.routers import ScopedRouter
from project.api import api


def operations() -> str:
    """Return a table of all operations of this site: what each asks for, and what it does."""
    routers = [router for _, router in api._routers if isinstance(router, ScopedRouter)]
    areas = {tag: router.area.name for router in routers for tag in router.tags or ()}
    rows = [
        f"| `{method.upper()} {path}` | {_scope(method, areas[each['tags'][0]], each)} | {_summary(each)} |"
        for path, methods in api.get_openapi_schema()["paths"].items()
        for method, each in methods.items()
    ]
    return "\n".join(["| operation | scope | what it does |", "|---|---|---|", *rows])


def known_scopes() -> str:
    """Return a table of the scopes, with what each allows."""
    rows = [f"| `{name}` | {what} |" for name, what in scopes.known().items()]
    return "\n".join(["| scope | allows to |", "|---|---|", *rows])


def _scope(method: str, area: str, operation: dict[str, object]) -> str:
    if not operation.get("security"):
        return "open"
    return f"`{area}:{'read' if method.upper() in READING else 'write'}`"


def _summary(operation: dict[str, object]) -> str:
    """Return what the code promises of it, to the end of its first paragraph."""
    return plain(" ".join(str(operation["description"]).partition("\n\n")[0].replace("``", "`").split()))
