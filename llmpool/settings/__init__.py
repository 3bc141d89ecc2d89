"""
A pool from a file, from the environment, or from a mapping of the same shape.

Which keys there are is read off the classes and constructors they end in, so a new argument there is
a new key here.
"""

from __future__ import annotations

from llmpool.settings.blueprint import Blueprint
from llmpool.settings.files import read_file
from llmpool.settings.problems import ConfigError
from llmpool.settings.reader import read_mapping
from llmpool.settings.variables import read_environment

__all__ = ["Blueprint", "ConfigError", "read_environment", "read_file", "read_mapping"]
