"""Where the packages are that are measured beside ours: in an environment of their own, which ``make bench`` names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.row import NotRun


def python_with(variable: str, package: str, *modules: str) -> str:
    """The Python that this variable names (default: the one that runs). Raises ``NotRun`` without the modules."""
    python = os.environ.get(variable) or sys.executable
    probe = [python, "-c", f"import {', '.join(modules)}"]
    if not Path(python).exists() or subprocess.run(probe, capture_output=True, check=False).returncode:
        raise NotRun(f"{package} is not installed: {variable}=<a Python that has it>; scripts/make-peers brings it")
    return str(Path(python).absolute())
