"""How Sphinx makes the site of these pages: `make docs`."""

from __future__ import annotations

import re
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any

from docutils import nodes

import checkpointdb

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "checkpointdb"
author = "checkpointdb contributors"
version = release = installed("checkpointdb")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["generate"]
myst_heading_anchors = 4

default_role = "py:obj"  # of a name in backticks: a link, if it has an entry of its own
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
add_module_names = False
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "checkpointdb"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False

_CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")


def code_as_it_stands(
    app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]
) -> None:
    """Keep backslashes and stars in code: docstrings have it in single backticks."""
    lines[:] = [_CODE.sub(_literal_or_name, line) for line in lines]


def _literal_or_name(code: re.Match[str]) -> str:
    return code[0] if re.fullmatch(r"[\w.]+", code[1]) else f"``{code[1]}``"


def readable_factories(
    app: Sphinx,
    what: str,
    name: str,
    found: Any,
    options: Any,
    signature: str | None,
    returned: str | None,
) -> tuple[str, str | None] | None:
    """Write `...` for a default that is made anew: Sphinx cannot read `<factory>`."""
    return (signature.replace("<factory>", "..."), returned) if signature else None


def without_object(app: Sphinx, page: nodes.document) -> None:
    """Leave out the base that every class has."""
    for each in list(page.findall(nodes.paragraph)):
        if each.astext() == "Bases: object":
            each.parent.remove(each)


def setup(app: Sphinx) -> None:
    """Import what `checkpointdb` imports only when it is used, so that autodoc finds it."""
    for name in checkpointdb.__all__:
        setattr(checkpointdb, name, getattr(checkpointdb, name))
    app.connect("autodoc-process-docstring", code_as_it_stands)
    app.connect("autodoc-process-signature", readable_factories)
    app.connect("doctree-read", without_object)
