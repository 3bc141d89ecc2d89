"""Servers of the OpenAI wire format that many people use: their addresses and ping pages."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping

import attrs

from llmpool import _validators as valid


@attrs.frozen
class Preset:
    """
    What is known of a server.

    ``variable`` of the environment holds the key. ``page`` is one that costs nothing and, where the
    server knows keys, answers nobody without a good one. ``keyless`` servers may do without.
    """

    base_url: str
    variable: str
    page: str = "/models"
    keyless: bool = False


PRESETS: Mapping[str, Preset] = {
    "openai": Preset("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "groq": Preset("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "mistral": Preset("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "together": Preset("https://api.together.ai/v1", "TOGETHER_API_KEY"),
    "fireworks": Preset("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    "deepseek": Preset("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    # Its /models answers anybody.
    "openrouter": Preset("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", page="/key"),
    # The health pages of the next two answer anybody too, /models wants the key.
    "vllm": Preset("http://127.0.0.1:8000/v1", "VLLM_API_KEY", keyless=True),
    "llama.cpp": Preset("http://127.0.0.1:8080/v1", "LLAMA_API_KEY", keyless=True),
    "ollama": Preset("http://127.0.0.1:11434/v1", "OLLAMA_API_KEY", keyless=True),
    "lmstudio": Preset("http://127.0.0.1:1234/v1", "LM_API_TOKEN", keyless=True),
}


def find_preset(name: object) -> Preset:
    """
    Give a preset by its name; capitals, spaces, dashes and underscores in it do not count.

    Raises:
        ValueError: there is none; the message names one that is spelt alike, or all.
        TypeError: *name* is no text.
    """
    valid.as_text("name", name)
    wanted = _bare(str(name))
    for known, preset in PRESETS.items():
        if _bare(known) == wanted:
            return preset
    alike = difflib.get_close_matches(wanted, map(_bare, PRESETS), n=1)
    meant = [known for known in PRESETS if _bare(known) in alike]
    hint = f"did you mean {meant[0]!r}?" if meant else f"known are {', '.join(PRESETS)}"
    raise ValueError(f"name: wanted a preset, got {valid.describe(name)}; {hint}")


def find_key(
    name: str, preset: Preset, given: str | Callable[[], str] | None
) -> str | Callable[[], str] | None:
    """
    Give the key for a preset: the one given, or the environment's.

    Raises:
        ValueError: the server wants one and there is none.
    """
    if given is not None:
        return given
    if os.environ.get(preset.variable, "").strip():
        return f"env:{preset.variable}"
    if preset.keyless:
        return None
    raise ValueError(
        f"api_key: wanted a key for {name}, got none, neither in the call nor in the environment "
        f"variable {preset.variable}"
    )


def _bare(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
