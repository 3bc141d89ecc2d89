"""The providers that a configuration can name, and the arguments of each."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from llmpool.settings.shapes import Key, keys_of

CLASSES = {
    "openai": "openai:OpenAIProvider",
    "anthropic": "anthropic:AnthropicProvider",
    "azure": "azure:AzureOpenAIProvider",
    "gemini": "gemini:GeminiProvider",
}
"""Module of ``llmpool.providers`` and class in it; imported when one is named."""


@attrs.frozen
class Maker:
    """Makes a provider from the keys of its table; *finds_key* where it may look for one itself."""

    make: Callable[..., Any]
    keys: Mapping[str, Key]
    finds_key: bool = False


def provider_names() -> list[str]:
    """Name what may stand at ``provider``."""
    return list(CLASSES)


def preset_names() -> list[str]:
    """Name what may stand at ``preset``."""
    from llmpool.providers._presets import PRESETS

    return list(PRESETS)


def of_provider(name: str) -> Maker:
    """Give the maker of a provider of that name, which is known."""
    module, _, kind = CLASSES[name].partition(":")
    target = getattr(importlib.import_module(f"llmpool.providers.{module}"), kind)
    return Maker(target, keys_of(target))


def of_preset(name: str) -> Maker:
    """Give the maker of a provider by the preset of that name, which is known."""
    from llmpool.providers.openai import OpenAIProvider

    keys = {key: attrs.evolve(of, required=False) for key, of in keys_of(OpenAIProvider).items()}
    return Maker(functools.partial(OpenAIProvider.preset, name), keys, finds_key=True)
