"""``manage.py tokens create|list|revoke``."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from durable_objects.formatting import label
from durable_objects.http import scopes, tokens
from durable_objects.http.models import ApiToken
from durable_objects.management.base import PlainCommand

EXAMPLES = """examples:
  manage.py tokens create "the shop" --scope batcher:write --scope batcher:read
  manage.py tokens create prometheus --scope metrics:read --expires 90d
  manage.py tokens create "team a" --scope reminders:write --names team-a: --channel email
  manage.py tokens list --json
  manage.py tokens revoke do_Zk3xW0qa

scopes:
"""
EXPIRES_ALLOWED = "an ISO 8601 time with its offset, such as 2030-01-31T09:00+01:00, or 90d, 12h, 30m from now"
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


class Command(PlainCommand):
    help = "Make, list and revoke the tokens of the HTTP interface. A token is shown once, when it is made."

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        """Add the examples and the scopes that there are below the options."""
        parser = super().create_parser(*args, **kwargs)
        parser.epilog = EXAMPLES + "\n".join(f"  {scope:<16} {meaning}" for scope, meaning in scopes.known().items())
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """Add one subcommand for each verb."""
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="create|list|revoke")
        create = verbs.add_parser("create", help="make a token and print it, once")
        create.add_argument("name", help="who or what uses it")
        create.add_argument(
            "--scope", action="append", required=True, help="what it opens, such as batcher:write; repeat for more"
        )
        create.add_argument(
            "--names", default="", metavar="PREFIX", help="limit it to objects and persons whose names begin so"
        )
        create.add_argument(
            "--channel",
            action="append",
            default=[],
            metavar="CHANNEL",
            help="let its objects deliver by this channel too; repeat for more",
        )
        create.add_argument("--expires", metavar="WHEN", help=f"when it ends (default: never): {EXPIRES_ALLOWED}")
        listing = verbs.add_parser("list", help="the tokens, the newest first")
        listing.add_argument("--valid", action="store_true", help="without those that are revoked or expired")
        revoke = verbs.add_parser("revoke", help="revoke a token, for good")
        revoke.add_argument("prefix", help="the token's beginning, as listed")
        for verb in verbs.choices.values():
            verb.add_argument("--json", action="store_true", help="print one line of JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, f"_{options['verb']}")(options)

    def _create(self, options: dict[str, Any]) -> None:
        row = ApiToken(
            name=options["name"], scopes=options["scope"], name_prefix=options["names"], channels=options["channel"]
        )
        row.expires_at = _moment(options["expires"]) if options["expires"] else None
        try:
            token = row.issue()
        except ValidationError as refused:
            raise CommandError(" ".join(refused.messages)) from refused
        if options["json"]:
            self.stdout.write(json.dumps({"token": token, **_figures(row)}))
        else:
            self.stdout.write(f"{token}\nThis is the only time that it is shown. Opens: {', '.join(row.scopes)}.")

    def _list(self, options: dict[str, Any]) -> None:
        rows = ApiToken.objects.all()
        shown = rows.filter(pk__in=ApiToken.objects.valid(timezone.now())) if options["valid"] else rows
        if options["json"]:
            for row in shown:
                self.stdout.write(json.dumps(_figures(row)))
        else:
            header = ("TOKEN", "STATE", "NAME", "SCOPES", "NAMES", "CHANNELS", "LAST USED")
            self.write_table(header, map(_columns, shown))

    def _revoke(self, options: dict[str, Any]) -> None:
        row = ApiToken.objects.filter(prefix=options["prefix"].rstrip("…")).first()
        if row is None:
            raise CommandError(f"no token begins with {options['prefix']!r}; 'manage.py tokens list' names them")
        was_valid = row.revoke()
        tokens.forget()
        text = f"revoked; refused everywhere within {tokens.TRUSTED_FOR:.0f} s" if was_valid else "was revoked before"
        self.stdout.write(json.dumps({"revoked": was_valid, "prefix": row.prefix}) if options["json"] else text)


def _figures(row: ApiToken) -> dict[str, Any]:
    moments = {name: getattr(row, name) for name in ("created_at", "expires_at", "last_used_at", "revoked_at")}
    return {
        "prefix": row.prefix,
        "name": row.name,
        "state": row.state,
        "scopes": row.scopes,
        "name_prefix": row.name_prefix,
        "channels": row.channels,
        **{name: moment and moment.isoformat() for name, moment in moments.items()},
    }


def _columns(row: ApiToken) -> tuple[str, ...]:
    used = row.last_used_at.isoformat() if row.last_used_at else "never"
    bounds = f"{label(row.name_prefix)}…" if row.name_prefix else "any", ", ".join(row.channels) or "any"
    return f"{row.prefix}…", row.state, label(row.name), " ".join(row.scopes), *bounds, used


def _moment(text: str) -> datetime:
    try:
        if span := re.fullmatch(r"([0-9]{1,6})([dhm])", text):
            return timezone.now() + timedelta(**{_UNITS[span[2]]: int(span[1])})
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC) if settings.USE_TZ else timezone.make_naive(moment)
    except (ValueError, OverflowError) as error:
        raise CommandError(f"--expires is {text!r}. Allowed: {EXPIRES_ALLOWED}") from error
    raise CommandError(f"--expires is {text!r}, without an offset. Allowed: {EXPIRES_ALLOWED}")
