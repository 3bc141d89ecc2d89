"""
How values look in a notebook: pieces of HTML in the notebook's own colours, light or dark.

All that comes from outside is escaped and bounded. Styles stand in the elements, for a notebook that is
opened elsewhere keeps nothing else; a state is told by its word, and its colour only underlines it.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from llmpool.messages import CompletionResponse, EmbeddingResponse, Usage
    from llmpool.outcomes import Attempt
    from llmpool.status import DeploymentStatus, HealthCheckResult, PoolHealthStatus

LONGEST_CELL = 200
LONGEST_TEXT = 20_000
ROWS = 20
"""A notebook is no place for more; whoever wants them has ``to_dicts()``."""

GOOD, MIDDLING, BAD, QUIET = "#2e9e5b", "#c77d00", "#d64545", "#888888"
"""Each at least 3 to 1 against white and against black."""
STATES = {
    "healthy": GOOD,
    "recovering": MIDDLING,
    "cooling": MIDDLING,
    "draining": QUIET,
    "unhealthy": BAD,
    "disabled": BAD,
}
# MathJax would make a formula of what stands between two dollars.
_PLAIN = 'class="tex2jax_ignore mathjax_ignore"'
_CELL = "padding:0.25em 0.6em;vertical-align:top"
_LEFT = f"{_CELL};text-align:left;overflow-wrap:break-word"
_RIGHT = f"{_CELL};text-align:right;font-variant-numeric:tabular-nums"
_BLOCK = (
    "white-space:pre-wrap;overflow-wrap:anywhere;max-height:30em;overflow:auto;margin:0 0 0.5em;"
    "text-align:left"
)


@attrs.frozen
class Mark:
    """A word with a dot before it in a colour."""

    word: str
    colour: str = QUIET


def escaped(text: str, most: int = LONGEST_CELL) -> str:
    """Give *text* as HTML: bounded, and without what cannot be sent as UTF-8."""
    kept = text if len(text) <= most else text[: most - 1] + "…"
    # Half of a pair, as a cut answer may hold, would break the message to the notebook.
    return html.escape(kept.encode("utf-8", "replace").decode("utf-8"))


def figure(number: float) -> str:
    """Give a number in a few signs."""
    if isinstance(number, int):
        return f"{number:,}"
    if not math.isfinite(number):
        return "∞" if number == math.inf else "–"
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def frame(*parts: str) -> str:
    """Put *parts* below each other."""
    return f"<div {_PLAIN}>{''.join(parts)}</div>"


def line(*facts: str | None) -> str:
    """Put *facts* beside each other; those that are None are left out."""
    told = " · ".join(escaped(fact) for fact in facts if fact is not None)
    return f'<p style="margin:0 0 0.5em">{told}</p>'


def block(text: str) -> str:
    """Give a long text with its lines, in a box that scrolls."""
    more = len(text) - LONGEST_TEXT
    rest = line(f"… {figure(more)} more characters") if more > 0 else ""
    return f'<pre dir="auto" style="{_BLOCK}">{escaped(text, LONGEST_TEXT)}</pre>{rest}'


def table(columns: Mapping[str, Sequence[Any]]) -> str:
    """Give a table; columns of numbers stand to the right, and what is not known is a dash."""
    styles = [_RIGHT if all(map(_is_number, column)) else _LEFT for column in columns.values()]
    head = "".join(
        f'<th scope="col" style="{style};white-space:nowrap">{escaped(name)}</th>'
        for name, style in zip(columns, styles, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td style="{style}">{_told(value)}</td>'
            for value, style in zip(row, styles, strict=True)
        )
        + "</tr>"
        for row in zip(*columns.values(), strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _told(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, Mark):
        return f'<span style="color:{value.colour}">●</span>&nbsp;{escaped(value.word)}'
    return figure(value) if _is_number(value) else escaped(str(value))


def counted(number: int, one: str, many: str) -> str:
    """Give a number with its noun."""
    return f"{figure(number)} {one if number == 1 else many}"


def answer(response: CompletionResponse) -> str:
    """Show an answer: what it says, and below it who gave it."""
    said = [block(response.text)] if response.text else []
    if response.refusal:
        said += [line("refused:"), block(response.refusal)]
    for call in response.tool_calls:
        said.append(block(f"{call.name}({call.arguments})"))
    several = len(response.choices)
    facts = line(
        None if said else "no text",
        None if several < 2 else f"the first of {several} choices",
        *_origin(response.model, response.deployment, response.latency),
        _tokens(response.usage),
        _cost(response.cost),
        None if response.finish_reason in (None, "stop") else f"ended by {response.finish_reason}",
    )
    return frame(*said, facts, _attempts(response.attempts))


def embeddings(response: EmbeddingResponse) -> str:
    """Show how many vectors there are, and of what length; not the vectors."""
    lengths = sorted({len(vector) for vector in response.vectors})
    facts = line(
        counted(len(response.vectors), "vector", "vectors"),
        None if len(lengths) != 1 else f"{figure(lengths[0])} numbers each",
        *_origin(response.model, response.deployment, response.latency),
        _tokens(response.usage),
        _cost(response.cost),
    )
    return frame(facts, _attempts(response.attempts))


def _origin(model: str | None, deployment: str | None, latency: float | None) -> list[str | None]:
    return [
        None if model is None else f"model {model}",
        None if deployment is None else f"deployment {deployment}",
        None if latency is None else f"{figure(latency)} s",
    ]


def _tokens(usage: Usage | None) -> str | None:
    if usage is None:
        return None
    return f"{figure(usage.input_tokens)} tokens in, {figure(usage.output_tokens)} out"


def _cost(cost: float | None) -> str | None:
    return None if cost is None else f"cost {figure(cost)}"


def _attempts(attempts: Sequence[Attempt]) -> str:
    if len(attempts) < 2:
        return ""
    tried = "".join(f"<li>{escaped(str(attempt), 2 * LONGEST_CELL)}</li>" for attempt in attempts)
    return f"<details><summary>{len(attempts)} attempts</summary><ol>{tried}</ol></details>"


def check(result: HealthCheckResult) -> str:
    """Show what a check found."""
    found = Mark("healthy", GOOD) if result.healthy else Mark("unhealthy", BAD)
    return frame(
        table(
            {
                "deployment": [result.deployment],
                "found": [found],
                "latency (s)": [result.latency],
                "error": [result.error],
            }
        )
    )


def pool(status: PoolHealthStatus) -> str:
    """Show a pool: a line about the whole, and a row for each deployment."""
    tokens = status.input_tokens or status.output_tokens
    facts = line(
        f"{status.healthy_deployments} of {status.total_deployments} healthy",
        None if status.avg_latency_ms is None else f"{figure(status.avg_latency_ms)} ms on average",
        "the checker runs" if status.checker_alive else "no checker runs here",
        f"{figure(status.input_tokens)} tokens in, {figure(status.output_tokens)} out"
        if tokens
        else None,
        _cost(status.cost),
    )
    return frame(facts, _statuses(status.deployments))


def deployment(status: DeploymentStatus) -> str:
    """Show one deployment as a row."""
    return frame(_statuses([status]))


def _statuses(statuses: Sequence[DeploymentStatus]) -> str:
    columns: dict[str, Sequence[Any]] = {
        "name": [each.name for each in statuses],
        "state": [Mark(each.state, STATES.get(each.state, QUIET)) for each in statuses],
        "reason": [each.reason for each in statuses],
        "back in (s)": [each.cooldown_remaining or None for each in statuses],
        "p50 (ms)": [each.latency_p50_ms for each in statuses],
        "p99 (ms)": [each.latency_p99_ms for each in statuses],
        "in flight": [each.requests_in_flight for each in statuses],
        "requests": [each.total_requests for each in statuses],
        "errors": [each.total_errors for each in statuses],
        "cost": [each.cost for each in statuses],
    }
    # Columns that would be empty say nothing.
    for name in ("reason", "back in (s)", "cost"):
        if all(value is None for value in columns[name]):
            del columns[name]
    return table(columns)
