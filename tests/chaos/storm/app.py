"""Puts the hooks of the random run into a process, once all that they patch is loaded."""

from __future__ import annotations

from django.apps import AppConfig


class Hooks(AppConfig):
    """The last of INSTALLED_APPS. Has no models."""

    name = "tests.chaos.storm.app"
    label = "chaos_hooks"

    def ready(self) -> None:
        from tests.chaos.storm import hooks

        hooks.install()
