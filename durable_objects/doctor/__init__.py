"""Questions that find what is wrong: the engine's own, and those that apps bring in a module ``doctor``::

    # shop/doctor.py
    from durable_objects.doctor import Finding, question

    @question
    def carts_without_owner(now: datetime) -> Iterator[Finding]:
        yield Finding("shop.orphans", "3 carts have no owner.", "Delete them.", fix=delete_them)

A question may take seconds: it is asked by ``manage.py alarms doctor``, not by a page.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from datetime import datetime

from django.db import Error
from django.utils.module_loading import autodiscover_modules

from durable_objects.doctor import alarms, delivery, environment
from durable_objects.doctor.alarms import LATE_AFTER, Late, late
from durable_objects.doctor.finding import Finding, Question
from durable_objects.errors import DurableObjectError
from durable_objects.escaping import one_line
from durable_objects.handler_errors import named

__all__ = ["LATE_AFTER", "Finding", "Late", "examine", "examine_settings", "glance", "late", "question"]

_of_apps: list[Question] = []


def question(asked: Question) -> Question:
    """Register a function that takes the database's now and yields findings. It may take seconds."""
    if asked not in _of_apps:
        _of_apps.append(asked)
    return asked


def glance(now: datetime) -> list[Finding]:
    """Return what a page can afford to ask, troubles first: each question is a small read of an index."""
    return _sorted(finding for ask in alarms.AT_A_GLANCE for finding in ask(now))


def examine(now: datetime) -> list[Finding]:
    """Ask every question, those of all installed apps' ``doctor`` modules included; return findings, troubles first."""
    autodiscover_modules("doctor")
    asked = [*alarms.AT_A_GLANCE, *alarms.INVARIANTS, *environment.QUESTIONS, *delivery.QUESTIONS, *_of_apps]
    return _sorted(finding for ask in asked for finding in _answers(ask, now))


def examine_settings() -> list[Finding]:
    """Return what the checks find, troubles first: for settings with which the engine can ask no database at all."""
    return _sorted(environment.checks())


def _answers(ask: Question, now: datetime) -> list[Finding]:
    """Return what a question finds; that it raised, where it did. Raises what the database raises."""
    try:
        return list(ask(now))
    except (Error, DurableObjectError):
        raise
    except Exception as error:  # noqa: BLE001  whatever one raises, the others are asked
        at = traceback.extract_tb(error.__traceback__)[-1]
        name = f"{ask.__module__}.{getattr(ask, '__name__', repr(ask))}"
        text = f"The question {name} raised {one_line(named(error))} (line {at.lineno} of {at.filename})."
        return [Finding("question", text, "Correct the setting that it reads, or the question; the others were asked.")]


def _sorted(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: not finding.is_trouble)
