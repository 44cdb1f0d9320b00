"""Periodic cleaners in Django admin: list, page, buttons, and the form of the settings."""

from cleaner.admin.cleaners import PeriodicCleanerAdmin

__all__ = ["PeriodicCleanerAdmin"]
