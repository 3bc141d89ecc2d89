"""How Sphinx builds these pages: ``tox -e docs`` the pages, ``tox -e doctests`` their examples."""

from __future__ import annotations

import importlib.metadata
import importlib.util

project = "llmpool"
author = "llmpool contributors"
copyright = f"2026, {author}"
release = importlib.metadata.version("llmpool-sync")
version = ".".join(release.split(".")[:2])

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build", "examples/*/README.rst"]
default_role = "any"
nitpicky = True
# The build must not depend on other sites, so names outside the package are no links.
nitpick_ignore_regex = [
    ("py:.*", r"(?!llmpool).*"),
    ("py:.*", r"llmpool\._.*"),
    ("py:.*", r"llmpool\..*\._.*"),
    # Parts of signatures that nobody names in code of their own.
    ("py:class", r"llmpool\.strategies\.BuiltIn|llmpool\.leases\.LeaseContext"),
    ("py:class", r"llmpool\.checks\.Check"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# The notebook is run at each build, on local servers; where nobody can run it, it is left out.
if importlib.util.find_spec("myst_nb") is None:
    suppress_warnings = ["toc.not_readable"]
else:
    extensions.append("myst_nb")
    # Not by a cache, which would go by the notebook's text alone.
    nb_execution_mode = "force"
    nb_execution_raise_on_error = True
    nb_execution_timeout = 60
    # Progress bars are text where no browser draws them.
    nb_output_stderr = "remove"

html_theme = "furo"
html_title = f"llmpool {version}"

# Every example runs, each page in a namespace of its own.
doctest_test_doctest_blocks = "default"
# A proxy of this machine's would be asked for loopback too.
doctest_global_setup = """
import os, warnings
warnings.simplefilter("error")
for name in list(os.environ):
    if name.lower().endswith("_proxy"):
        del os.environ[name]
# The first call starts the checker, which may take a sick server out before that call meets it.
from llmpool import HealthChecker
HealthChecker.ensure = lambda self: None
"""
