"""What the commands share: how they find what they are told of, how they answer, and how they fail."""

from __future__ import annotations

import argparse
import copy
import json
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper
from django.db import Error
from django.db.models import Model, QuerySet

from durable_objects import DurableObjectError, escaping
from durable_objects.conf import engine
from durable_objects.errors import InvalidName
from durable_objects.handler_errors import is_failure, named, tellable
from durable_objects.kinds import content_types, label_of
from durable_objects.management import streams
from durable_objects.management.database_messages import in_words, one_line
from durable_objects.management.streams import lines_of
from durable_objects.models import DurableObject
from durable_objects.tables import Object

__all__ = ["ManyLines", "PlainCommand", "in_words", "lines_of"]

Row = TypeVar("Row", bound=Model)

#: Rows that are read at once.
PAGE = 500


class ManyLines(CommandError):
    """Ends a command with more than a line: each of which says something of its own."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(map(escaping.one_line, lines)))


class VisibleOutput(OutputWrapper):
    """An output in which nothing steers the terminal but Django's own colours."""

    def write(self, msg: str = "", style_func: Any = None, ending: str | None = None) -> None:  # type: ignore[override]  # as Django has it
        """Write, with what steers terminals escaped."""
        super().write(escaping.visible(msg), style_func, ending)


class PlainCommand(BaseCommand):
    """A command that fails in one line and with 1, whatever the engine or the database says; ``--traceback`` has more.

    When nobody reads its output any more it ends without a word. Django's own options are taken behind a verb too.
    """

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        """The parser, whose verbs take Django's own options as well."""
        parser = super().create_parser(*args, **kwargs)
        for verbs in parser._actions:
            if isinstance(verbs, argparse._SubParsersAction):
                for verb in verbs.choices.values():
                    _take_options_of(parser, verb)
                    _tell_in_one_line(verb)
        _tell_in_one_line(parser)
        return parser

    def run_from_argv(self, argv: list[str]) -> None:
        """From a command line: whatever the streams of this process can take."""
        streams.prepare()
        self.stdout, self.stderr = VisibleOutput(sys.stdout), VisibleOutput(streams.lasting(sys.stderr))
        self.stderr.style_func = self.style.ERROR
        try:
            super().run_from_argv(argv)
        except streams.OutputLost:
            sys.exit(streams.EXIT_UNHEARD)
        finally:
            streams.settle()

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Raises ``CommandError`` for what the engine or the database says, ``OutputLost`` when nobody reads."""
        out: Any = streams.Output(options.pop("stdout", None) or self.stdout)
        self.stdout = VisibleOutput(out)
        self.stderr = VisibleOutput(streams.bare(options.pop("stderr", None) or self.stderr))
        self.stderr.style_func = self.style.ERROR
        try:
            answer = super().execute(*args, **options)
            self.stdout.flush()
        except streams.OutputLost as lost:
            if lost.is_closed:
                raise
            raise CommandError(str(lost)) from lost
        except CommandError as error:
            if not isinstance(error, ManyLines) and (line := escaping.one_line(str(error))) != str(error):
                raise CommandError(line, returncode=error.returncode) from error
            raise
        except DurableObjectError as error:
            raise CommandError(escaping.one_line(str(error))) from error
        except Error as error:
            raise CommandError(in_words(error)) from error
        return answer

    def progress(self, length: int, label: str) -> Any:
        """A progress bar on standard error, which may be closed: the work goes on without."""
        return click.progressbar(length=length, label=label, file=streams.lasting(sys.stderr))

    def outlive_streams(self) -> None:
        """From now on this process goes on whatever becomes of its standard output and error."""
        streams.outlive()
        self.stdout = VisibleOutput(streams.lasting(self.stdout))
        self.stderr = VisibleOutput(streams.lasting(self.stderr))


class SpeakingCommand(PlainCommand):
    """A command of verbs: each is a method of its name with ``_`` before it; ``--json`` makes it answer in JSON."""

    #: Shown below the options.
    examples = ""

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        """The parser, with examples below the options."""
        parser = super().create_parser(*args, **kwargs)
        parser.epilog, parser.formatter_class = self.examples, RawDescriptionHelpFormatter
        return parser

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb."""
        getattr(self, f"_{options['verb']}")(options)

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
    if not issubclass(model, DurableObject) or model.is_base():
        raise CommandError(f"{label} is not a durable object")
    return model


def find_kind(label: str) -> ContentType:
    """The content type of this label, also of a class that this code does not have. Raises ``CommandError``."""
    app, _, model = label.lower().partition(".")
    kind = content_types().filter(app_label__iexact=app, model=model).first()
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


def find_object(options: dict[str, Any]) -> Object:
    """The object by its class, whether it was ever used or not; its row where this code has no such class, or no
    object can have that name.

    Raises ``CommandError``, ``InvalidName``.
    """
    try:
        return find_class(options["kind"]).by_name(options["name"])
    except (CommandError, InvalidName):
        app, _, name = options["kind"].lower().partition(".")
        rows = Object.objects.using(engine.DATABASE).filter(kind__app_label__iexact=app, kind__model=name)
        row = rows.filter(name=options["name"]).first()
        if row is None:
            raise
        return row


def confirm(options: dict[str, Any], question: str, refusal: str) -> None:
    """Ask unless ``--yes`` was said. Raises ``CommandError`` when the answer is no, or nobody is there to answer."""
    if options["yes"]:
        return
    if options["json"] or not sys.stdin.isatty():
        raise CommandError(refusal)
    if not click.confirm(question, err=True):
        raise CommandError("nothing was done")


def kind_of(row: Object) -> str:
    """The label that the commands take, also of a class that this code does not have."""
    return label_of(row.kind_id)


def paged(rows: QuerySet[Row]) -> Iterator[Row]:
    """The rows in the order of their keys, ``PAGE`` at a time: of those that are changed on the way each comes once."""
    seen = 0
    while page := list(rows.filter(pk__gt=seen).order_by("pk")[:PAGE]):
        yield from page
        seen = page[-1].pk


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
    except (CommandError, DurableObjectError, Error, streams.OutputLost):
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        raise CommandError(one_line(named(error))) from tellable(error)


def _tell_in_one_line(parser: argparse.ArgumentParser) -> None:
    """What is wrong with the arguments names them."""
    tell = parser.error
    setattr(parser, "error", lambda message: tell(escaping.one_line(message)))


def _take_options_of(parser: CommandParser, verb: argparse.ArgumentParser) -> None:
    """Where they are not given behind the verb, they are not mentioned: what stood before it stays."""
    for action in parser._actions:
        if action.option_strings and not {*action.option_strings} & {*verb._option_string_actions}:
            taken = copy.copy(action)
            taken.default = taken.help = argparse.SUPPRESS
            verb._add_action(taken)
