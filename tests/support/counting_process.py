"""A process whose threads all count up one counter: ``python -m tests.support.counting_process THREADS TIMES``."""

from __future__ import annotations

import collections
import json
import sys

import django


def main(threads: int, times: int) -> None:
    """Print how often counting succeeded, and each error with how often it came."""
    django.setup()
    from tests.models import Counter
    from tests.support.threads import run_in_threads

    seen: collections.Counter[str] = collections.Counter()

    def hammer(number: int) -> None:
        counter = Counter.objects.get_by_name("hammered")
        for _ in range(times):
            try:
                counter.add()
                seen["added"] += 1
            except Exception as error:  # noqa: BLE001  all of them are reported
                seen[repr(error)] += 1

    run_in_threads(threads, hammer)
    print(json.dumps(seen))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
