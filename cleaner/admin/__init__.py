"""Periodic cleaners in Django admin: the list, the page, its words, the form of the settings, the verbs."""

from cleaner.admin.cleaners import PeriodicCleanerAdmin

__all__ = ["PeriodicCleanerAdmin"]
