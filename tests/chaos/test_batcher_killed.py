"""A worker that dies with -9 around a post: the upstream sees the same key with the same content again."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.site_processes import Site
from tests.support.upstream import Upstream

pytestmark = pytest.mark.chaos

CONFIGURE = (
    "from datetime import timedelta; from batcher.models import Batcher; "
    "Batcher.objects.get_by_name('orders').configure(upstream_url={url!r}, window=timedelta(seconds=2), gzip=True)"
)
STATE = (
    "from batcher.models import Batch, Batcher; b = Batch.objects.get(); "
    "print(b.status, b.attempts, b.outcome_unknown, Batcher.objects.get_by_name('orders').receipt(3).state.value)"
)


@pytest.mark.parametrize(("point", "posts"), [("batcher.sealed", 1), ("batcher.posted", 2), ("batcher.settled", 2)])
def test_killed_around_the_post(
    tmp_path: Path, upstream: Upstream, say: Callable[[str], None], point: str, posts: int
) -> None:
    """Killed after sealing, between post and settle, and after it but before the commit: the batch comes (again) from
    the next process, under the same key in the same bytes; never under another, and nothing stays undelivered.
    """
    with Site(tmp_path, f"sqlite:///{tmp_path / 'db.sqlite3'}", "memory://") as site:
        site.migrate()
        site.execute(CONFIGURE.format(url=upstream.url))
        with site.up("doomed", DURABLE_OBJECTS_KILL_AT=point) as client:
            for item in ["a", "b", "c"]:
                assert client.post("/batcher/orders", content=item).status_code == 200
        (doomed,) = site.processes
        assert doomed.ended(20) == -signal.SIGKILL
        assert len(upstream.received) == posts - 1
        with site.up("successor"):
            upstream.wait_for(posts, timeout=30)
            state = site.wait_for("delivery", lambda: site.execute(STATE), seconds=30, until=lambda s: "delivered" in s)
    assert len({(request.key, request.body) for request in upstream.received}) == 1
    assert state.split() == ["delivered", "2", "False", "delivered"]
    say(f"{len(upstream.received)} posts, keys {set(upstream.keys)}")
