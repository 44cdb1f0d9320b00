"""What the commands share: how they find classes and objects, print answers, and report errors."""

from __future__ import annotations

import argparse
import copy
import json
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

import click
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.core.checks import Tags
from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper, SystemCheckError
from django.db import Error
from django.db.models import Model, QuerySet

from durable_objects import DurableObjectError, InvalidInput, durations, escaping, kinds
from durable_objects.conf import engine
from durable_objects.database.messages import message_for, one_line
from durable_objects.errors import InvalidName
from durable_objects.handler_errors import formattable, is_failure, named
from durable_objects.kinds import label_of
from durable_objects.management import streams
from durable_objects.management.streams import lines_of
from durable_objects.models import DurableObject
from durable_objects.tables import Object

__all__ = ["ManyLines", "PlainCommand", "lines_of", "message_for"]

Row = TypeVar("Row", bound=Model)

#: Rows that are read at once.
PAGE = 500


class ManyLines(CommandError):
    """Ends a command with several lines, each about something else."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(map(escaping.one_line, lines)))


class VisibleOutput(OutputWrapper):
    """An output that escapes control characters, but for Django's own colours."""

    def write(self, msg: str = "", style_func: Any = None, ending: str | None = None) -> None:  # type: ignore[override]  # as Django has it
        """Write the text with its control characters escaped."""
        super().write(escaping.visible(msg), style_func, ending)


class PlainCommand(BaseCommand):
    """A command that fails with one line and exit code 1, whatever the engine or the database raises; ``--traceback``
    shows more.

    When nobody reads its output any more it ends silently. Django's own options may stand behind a verb too.
    """

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        """Return the parser, whose verbs take Django's own options as well."""
        parser = super().create_parser(*args, **kwargs)
        for verbs in parser._actions:
            if isinstance(verbs, argparse._SubParsersAction):
                for verb in verbs.choices.values():
                    _take_options_of(parser, verb)
                    _report_in_one_line(verb)
        _report_in_one_line(parser)
        return parser

    def run_from_argv(self, argv: list[str]) -> None:
        """Run from a command line, with standard streams that may be closed, full or of another encoding."""
        streams.prepare()
        self.stdout, self.stderr = VisibleOutput(sys.stdout), VisibleOutput(streams.lasting(sys.stderr))
        self.stderr.style_func = self.style.ERROR
        try:
            super().run_from_argv(argv)
        except streams.OutputLost:
            sys.exit(streams.EXIT_READER_GONE)
        finally:
            streams.settle()

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run. Raises ``CommandError`` for errors of the engine or the database, ``OutputLost`` when nobody reads."""
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
        except SystemCheckError as error:
            raise SystemCheckError(str(ManyLines(*str(error).strip().splitlines()))) from error
        except CommandError as error:
            if not isinstance(error, ManyLines) and (line := escaping.one_line(str(error))) != str(error):
                raise CommandError(line, returncode=error.returncode) from error
            raise
        except DurableObjectError as error:
            raise CommandError(escaping.one_line(str(error))) from error
        except Error as error:
            raise CommandError(message_for(error)) from error
        return answer

    def write_table(self, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
        """Write rows in columns, each in one line; a terminal is shown the header above them."""
        lines = [tuple(map(escaping.one_line, texts)) for texts in rows]
        lines = [header, *lines] if self.stdout.isatty() else lines
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for texts in lines:
            self.stdout.write("  ".join(map(str.ljust, texts, widths)).rstrip())

    def progress(self, length: int, label: str) -> Any:
        """Return a progress bar on standard error; if that is closed, the work goes on without it."""
        return click.progressbar(length=length, label=label, file=streams.lasting(sys.stderr))

    def outlive_streams(self) -> None:
        """Let this process go on from now on whatever becomes of its standard output and error."""
        streams.outlive()
        self.stdout = VisibleOutput(streams.lasting(self.stdout))
        self.stderr = VisibleOutput(streams.lasting(self.stderr))


class VerbCommand(PlainCommand):
    """A command of verbs, each a method of its name with ``_`` before it; ``--json`` makes it print JSON."""

    #: What the engine and models need, by its tag: the checks of a whole site import every page of it, which takes a
    #: dispatcher a quarter of its memory, and each command half a second.
    requires_system_checks: tuple[str, ...] | Literal["__all__"] = (Tags.models, "durable_objects")

    #: Shown below the options.
    examples = ""

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        """Return the parser, with examples below the options."""
        parser = super().create_parser(*args, **kwargs)
        parser.epilog, parser.formatter_class = self.examples, RawDescriptionHelpFormatter
        return parser

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb."""
        getattr(self, f"_{options['verb']}")(options)

    def say(self, options: dict[str, Any], figures: dict[str, Any], text: str) -> None:
        """Print one answer: a line of JSON, or the text."""
        self.stdout.write(json.dumps(figures, default=str) if options["json"] else text)

    def say_table(
        self, options: dict[str, Any], header: tuple[str, ...], rows: Iterable[tuple[dict[str, Any], tuple[str, ...]]]
    ) -> None:
        """Print rows, each as a line of JSON or of columns; a terminal is shown the header above them."""
        if options["json"]:
            for figures, _ in rows:
                self.say(options, figures, "")
            return
        self.write_table(header, (texts for _, texts in rows))


def add_object(parser: CommandParser, *, may_miss: bool = False) -> None:
    """Add the two arguments that name an object."""
    nargs = "?" if may_miss else None
    parser.add_argument("kind", nargs=nargs, metavar="KIND", help="app_label.ClassName")
    parser.add_argument("name", nargs=nargs, metavar="NAME", help="the object's name")


def find_class(label: str) -> type[DurableObject]:
    """Return the class of this label. Raises ``CommandError``, which lists the labels that come near."""
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError) as error:
        raise CommandError(f"no class {label!r}: {kinds.hint(label)}") from error
    if not issubclass(model, DurableObject) or model.is_base():
        raise CommandError(f"{label} is not a durable object: {kinds.hint(label)}")
    return model


def find_kind(label: str) -> ContentType:
    """Return the content type of this label, also for a class that this code does not have. Raises ``CommandError``."""
    kind = kinds.find(label)
    if kind is None:
        find_class(label)
        raise CommandError(f"no object of {label!r} was ever made: run migrate (and makemigrations before)")
    return kind


def find_row(options: dict[str, Any]) -> Object:
    """Return the row of an object, whether this code has its class or not. Raises ``CommandError``."""
    kind = find_kind(options["kind"])
    rows = Object.objects.using(engine.DATABASE).select_related("kind")
    row = rows.filter(kind=kind, name=options["name"]).first()
    if row is None:
        raise CommandError(f"no object {options['name']!r} of {options['kind']}: it was never used")
    return row


def find_object(options: dict[str, Any]) -> Object:
    """Return the object's handle, whether it was ever used or not; its row where this code has no such class, or no
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
    """Ask, unless ``--yes`` was given. Raises ``CommandError`` if the answer is no, or nobody is there to answer."""
    if options["yes"]:
        return
    if options["json"] or not sys.stdin.isatty():
        raise CommandError(refusal)
    if not click.confirm(question, err=True):
        raise CommandError("nothing was done")


def kind_of(row: Object) -> str:
    """Return the label that the commands take, also for a class that this code does not have."""
    return label_of(row.kind_id)


def paged(rows: QuerySet[Row]) -> Iterator[Row]:
    """Yield the rows by primary key, read ``PAGE`` at a time: each comes once, also if it changes on the way."""
    seen = 0
    while page := list(rows.filter(pk__gt=seen).order_by("pk")[:PAGE]):
        yield from page
        seen = page[-1].pk


def moment(text: str) -> datetime | timedelta:
    """Read an ISO 8601 time, or a span from now as ``span_of`` does. Raises ``CommandError``."""
    try:
        return datetime.fromisoformat(text) if "-" in text else span_of(text)
    except (ValueError, InvalidInput) as error:
        raise CommandError(f"{text!r} is neither an ISO time nor a span of time from now: {error}") from error


def span_of(text: str) -> timedelta:
    """Read a span of time: ``15m``, ``1h 30m``; a number alone is seconds. Raises ``InvalidInput``."""
    return durations.parse(f"{text}s" if text.replace(".", "", 1).isdigit() else text)


def span_argument(text: str) -> timedelta:
    """Read a span of time that was given as an option. Raises ``ArgumentTypeError``."""
    try:
        return span_of(text)
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(str(error)) from error


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn whatever an object's own code raises into a ``CommandError`` of one line; ``--traceback`` shows the rest."""
    try:
        yield
    except (CommandError, DurableObjectError, Error, streams.OutputLost):
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        raise CommandError(one_line(named(error))) from formattable(error)


def _report_in_one_line(parser: argparse.ArgumentParser) -> None:
    """Report wrong arguments, which the message repeats, in one line without control characters."""
    tell = parser.error
    setattr(parser, "error", lambda message: tell(escaping.one_line(message)))


def _take_options_of(parser: CommandParser, verb: argparse.ArgumentParser) -> None:
    """Let a verb take the parser's options too. One not given behind the verb keeps the value given before it."""
    for action in parser._actions:
        if action.option_strings and not {*action.option_strings} & {*verb._option_string_actions}:
            taken = copy.copy(action)
            taken.default = taken.help = argparse.SUPPRESS
            verb._add_action(taken)
