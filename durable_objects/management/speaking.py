"""What the commands share: how they find what they are told of, and how they answer."""

from __future__ import annotations

import json
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.core.management.base import BaseCommand, CommandError, CommandParser

from durable_objects import DurableObjectError
from durable_objects.conf import engine
from durable_objects.handler_errors import is_failure, named, tellable
from durable_objects.models import DurableObject
from durable_objects.rows import Object


class SpeakingCommand(BaseCommand):
    """A command of verbs: each is a method of its name with ``_`` before it; ``--json`` makes it answer in JSON."""

    #: Shown below the options.
    examples = ""

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        """The parser, with examples below the options."""
        parser = super().create_parser(*args, **kwargs)
        parser.epilog, parser.formatter_class = self.examples, RawDescriptionHelpFormatter
        return parser

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb. Errors of the engine are told in a line, and the exit code is 1."""
        try:
            getattr(self, f"_{options['verb']}")(options)
        except DurableObjectError as error:
            raise CommandError(str(error)) from error

    def say(self, options: dict[str, Any], figures: dict[str, Any], text: str) -> None:
        """One answer: a line of JSON, or the text."""
        self.stdout.write(json.dumps(figures, default=str) if options["json"] else text)


def add_object(parser: CommandParser, *, may_miss: bool = False) -> None:
    """The two arguments that name an object."""
    nargs = "?" if may_miss else None
    parser.add_argument("kind", nargs=nargs, metavar="KIND", help="app_label.ClassName")
    parser.add_argument("name", nargs=nargs, metavar="NAME", help="the object's name")


def find_class(label: str) -> type[DurableObject]:
    """The class of this label. Raises ``CommandError``."""
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError) as error:
        raise CommandError(f"no class {label!r}: {error}") from error
    if not issubclass(model, DurableObject):
        raise CommandError(f"{label} is not a durable object")
    return model


def find_kind(label: str) -> ContentType:
    """The content type of this label, also of a class that this code does not have. Raises ``CommandError``."""
    app, _, model = label.lower().partition(".")
    kind = ContentType.objects.filter(app_label__iexact=app, model=model).first()
    if kind is None:
        find_class(label)
        raise CommandError(f"no object of {label!r} was ever made: run migrate")
    return kind


def find_row(options: dict[str, Any]) -> Object:
    """The row of an object, whether its class is known here or not. Raises ``CommandError``."""
    kind = find_kind(options["kind"])
    rows = Object.objects.using(engine.DATABASE).select_related("kind")
    row = rows.filter(kind=kind, name=options["name"]).first()
    if row is None:
        raise CommandError(f"no object {options['name']!r} of {options['kind']}: it was never used")
    return row


def kind_of(row: Object) -> str:
    """The label that the commands take, also of a class that this code does not have."""
    return f"{row.kind.app_label}.{row.kind.model}"


def moment(text: str) -> datetime | timedelta:
    """An ISO time, or seconds from now. Raises ``CommandError``."""
    try:
        return timedelta(seconds=float(text)) if text.replace(".", "", 1).isdigit() else datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise CommandError(f"{text!r} is neither an ISO time nor a number of seconds: {error}") from error


@contextmanager
def told_in_words() -> Iterator[None]:
    """Whatever an object's own code raises becomes a line; ``--traceback`` shows the rest."""
    try:
        yield
    except (CommandError, DurableObjectError):
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        raise CommandError(named(error)) from tellable(error)
