"""Sphinx's configuration: ``make docs`` builds the pages of this folder into ``docs/_build``."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

import django  # noqa: E402  # only now does Python find the project's settings

django.setup()

project = "Durable Objects for Django and Celery"
author = "The durable objects developers"
project_copyright = author
exclude_patterns = ["_build"]

extensions = ["myst_parser", "sphinx.ext.autodoc"]
# A quotation mark or -- in a message is what somebody types.
smartquotes = False
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = project
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
