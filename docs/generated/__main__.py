"""``python -m docs.generated`` writes the parts of the pages that come from the code."""

from __future__ import annotations

import os
import sys

import django


def main() -> None:
    """Write the pages that are not as the code has them, and say which."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    from docs.generated.pages import FOLDER, stale

    for name, text in stale():
        (FOLDER / name).write_text(text, "utf-8")
        sys.stdout.write(f"wrote docs/{name}\n")


if __name__ == "__main__":
    main()
