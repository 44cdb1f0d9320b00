"""``python -m tests.conformance`` writes docs/why/conformance.md from the suite."""

from __future__ import annotations

import os
import sys

import django


def main() -> None:
    """Write the page, and say so."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from tests.conformance.behaviour import whole_suite
    from tests.conformance.page import PAGE, write

    PAGE.write_text(write(whole_suite()), "utf-8")
    sys.stdout.write(f"wrote {PAGE.relative_to(PAGE.parents[1])}\n")


if __name__ == "__main__":
    main()
