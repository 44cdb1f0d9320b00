"""Commands as a reader types them: do the programs, verbs and options exist?"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterator

import click
from celery.bin.celery import celery
from django.core.management import CommandError, get_commands, load_command_class

from tests.architecture.sources import ROOT

#: Programs of others, whose arguments are their own matter.
OTHERS = {
    "cat", "cd", "chromium", "cp", "createdb", "curl", "docker", "export", "git", "gunicorn", "honcho", "jq", "kubectl",
    "mkdir", "nginx", "pg_dump", "pg_restore", "pip", "promtool", "psql", "rabbitmqctl", "redis-cli", "source",
    "systemctl", "uvicorn",
}  # fmt: skip
_SUBSTITUTION = re.compile(r"\$\(([^()]*)\)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_ENDS = {"|", "||", "&&", ";", "&"}
_REDIRECTS = {">", ">>", "<", "2>"}


def flaws(script: str) -> list[str]:
    """Return what is wrong with the lines of a shell block, each with its command."""
    return [f"{shlex.join(command)}: {flaw}" for command in commands_in(script) if (flaw := flaw_of(command))]


def commands_in(script: str) -> Iterator[list[str]]:
    """Yield each command of a script as its words, without variables before it, comments and redirections."""
    for line in script.replace("\\\n", " ").splitlines():
        for inner in _SUBSTITUTION.findall(line):
            yield from commands_in(inner)
        lexer = shlex.shlex(_SUBSTITUTION.sub("SUBSTITUTED", line), posix=True, punctuation_chars=True)
        lexer.wordchars += "…{}:,+@%^!$[]"
        yield from _split(list(lexer))


def _split(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    follows_redirect = False
    for word in [*words, ";"]:
        if word in _ENDS:
            if command:
                yield command
            command = []
        elif word in _REDIRECTS:
            follows_redirect = True
        elif follows_redirect:
            follows_redirect = False
        elif command or not _ASSIGNMENT.match(word):
            command.append(word)


def flaw_of(command: list[str]) -> str | None:
    """Return why a reader could not run this; None if nothing is known against it."""
    program, *arguments = command
    name = program.rpartition("/")[2]
    if name in {"python", "python3"}:
        return _python(arguments)
    if name == "manage.py":
        return _manage(arguments)
    if name in KNOWN:
        return KNOWN[name](arguments)
    return None if name in OTHERS else "no such program is known to this test"


def span_flaw(span: str) -> str | None:
    """Return what is wrong with a command in running text, where values may be left out: verbs and options only."""
    program, _, rest = span.partition(" ")
    if program.rpartition("/")[2] != "manage.py" or not rest:
        return None
    name, *arguments = rest.split()
    if name not in get_commands():
        return None if re.search(r"\W", name) else f"manage.py has no command {name}"
    parser: argparse.ArgumentParser = _parser(name)
    for verbs in parser._actions:
        if isinstance(verbs, argparse._SubParsersAction) and arguments and re.fullmatch("[a-z-]+", arguments[0]):
            if arguments[0] not in verbs.choices:
                return f"manage.py {name} has no verb {arguments[0]}"
            parser = verbs.choices[arguments[0]]
    options = {match[0] for word in arguments if (match := re.match(r"--[a-z-]+", word))}
    unknown = options - parser._option_string_actions.keys()
    return f"manage.py {name} has no option {', '.join(sorted(unknown))}" if unknown else None


def _python(arguments: list[str]) -> str | None:
    match arguments:
        case ["manage.py", *rest]:
            return _manage(rest)
        case ["-m", "celery", *rest]:
            return _celery(rest)
        case ["-m", "django", *rest]:
            return _django_admin(rest)
        case ["-m", ("pip" | "venv" | "pytest" | "gunicorn" | "uvicorn" | "honcho" | "http.server"), *_]:
            return None
        case ["-m", module, *_]:
            file = ROOT / module.replace(".", "/")
            return None if file.with_suffix(".py").is_file() or (file / "__main__.py").is_file() else "no such module"
    return "only manage.py and -m are known to this test"


def _parser(name: str) -> argparse.ArgumentParser:
    return load_command_class(get_commands()[name], name).create_parser("manage.py", name)


def _manage(arguments: list[str]) -> str | None:
    if not arguments or arguments[0] not in get_commands():
        return "manage.py has no such command"
    try:
        _parser(arguments[0]).parse_args(arguments[1:])
    except CommandError as error:
        return str(error)
    except SystemExit as error:
        return None if error.code == 0 else f"its arguments are refused ({error.code})"
    return None


def _django_admin(arguments: list[str]) -> str | None:
    return None if arguments[:1] in (["startproject"], ["startapp"]) else "django-admin is known for new files only"


def _celery(arguments: list[str]) -> str | None:
    group: click.Command = celery
    while isinstance(group, click.Group):
        try:
            _, arguments, _ = _click_parse(group, arguments)
        except click.UsageError as error:
            return error.format_message()
        if not arguments or arguments[0] not in group.commands:
            return "celery has no such command"
        group, arguments = group.commands[arguments[0]], arguments[1:]
    try:
        _click_parse(group, arguments)
    except click.UsageError as error:
        return error.format_message()
    return None


def _click_parse(command: click.Command, arguments: list[str]) -> tuple[dict[str, object], list[str], object]:
    context = click.Context(command, allow_interspersed_args=not isinstance(command, click.Group))
    return command.make_parser(context).parse_args(list(arguments))


def _make(arguments: list[str]) -> str | None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    unknown = [word for word in arguments if not _ASSIGNMENT.match(word) and word not in targets]
    return f"no such target: {', '.join(unknown)}" if unknown else None


def _script(arguments: list[str]) -> str | None:
    return None if arguments and (ROOT / arguments[0]).is_file() else "no such script"


KNOWN: dict[str, Callable[[list[str]], str | None]] = {
    "celery": _celery,
    "django-admin": _django_admin,
    "make": _make,
    "sh": _script,
    "bash": _script,
}
