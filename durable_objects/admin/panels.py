"""What an app shows of its objects, first on their page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString


@dataclass(frozen=True)
class Panel:
    """A part of an object's page, below its head: a heading, and a template with what it is to show.

    It stands in no form, so a form of its own may be in it.
    """

    title: str
    template: str
    context: Mapping[str, Any] = field(default_factory=dict)

    def render(self, request: HttpRequest) -> dict[str, str | SafeString]:
        """Return the heading and the HTML below it."""
        return {"title": self.title, "html": render_to_string(self.template, {**self.context}, request)}
