"""The commands of the engine, the apps and the project, as their parsers describe them."""

from __future__ import annotations

import argparse

from django.core.management import BaseCommand, get_commands, load_command_class

from docs.generated.sources import PACKAGES

#: Options that each command of Django has.
DJANGOS = {action.dest for action in BaseCommand().create_parser("manage.py", "any")._actions}


def commands() -> str:
    """Return a section for each ``manage.py`` command of ours, and in it one for each verb."""
    ours = {name: app for name, app in get_commands().items() if app.partition(".")[0] in PACKAGES}
    return "\n\n".join(_command(app, name).rstrip() for name, app in sorted(ours.items()))


def _command(app: str, name: str) -> str:
    parser = load_command_class(app, name).create_parser("manage.py", name)
    text = f"## `manage.py {name}`\n\n{parser.description or ''}\n\n"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            return text + "".join(_verb(name, verb, helps[verb], each) for verb, each in action.choices.items())
    return text + _arguments(parser)


def _verb(command: str, verb: str, purpose: str, parser: argparse.ArgumentParser) -> str:
    return f"### {command} {verb}\n\n{purpose[:1].upper()}{purpose[1:].rstrip('.')}.\n\n{_arguments(parser)}"


def _arguments(parser: argparse.ArgumentParser) -> str:
    rows = [f"| {_usage(action)} | {_meaning(action)} |" for action in parser._actions if action.dest not in DJANGOS]
    return "| argument | meaning |\n|---|---|\n" + "\n".join(rows) + "\n\n" if rows else ""


def _usage(action: argparse.Action) -> str:
    shown = action.metavar or action.dest.upper()
    value = "" if action.nargs == 0 else shown if isinstance(shown, str) else " ".join(shown)
    if action.choices:
        value = ", ".join(map(str, action.choices))
    names = ", ".join(action.option_strings)
    return f"`{names} {value}`".replace(" `", "`").replace("` ", "`")


def _meaning(action: argparse.Action) -> str:
    text = action.help or ""
    return (text % vars(action) if "%(" in text else text).replace("|", "\\|")
