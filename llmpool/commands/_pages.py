"""The demo's words: its live page, its plain lines, its summary; values in, lines out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from llmpool import DeploymentStatus
from llmpool.commands._chronicle import TONES, Happening, Spell
from llmpool.commands._script import WORKS
from llmpool.commands._terminal import Line, Span
from llmpool.commands._traffic import Count

_BAR = 30
_BESIDE_BAR = 50
_LEGEND = (
    "unhealthy: out, until its checks succeed    cooling: out, as long as it asked",
    "recovering: back, on a few calls at first   healthy: gets its share of calls",
)


@attrs.frozen(kw_only=True)
class Scene:
    """The demo at a moment; times are seconds after its start."""

    elapsed: float
    seconds: float
    threads: int
    count: Count
    statuses: tuple[DeploymentStatus, ...]
    servers: Mapping[str, str]
    happenings: tuple[Happening, ...] = ()
    spells: tuple[Spell, ...] = ()
    interrupted: bool = False
    stuck: tuple[str, ...] = ()

    @property
    def flawless(self) -> bool:
        """Whether calls were made, and none failed or is still stuck."""
        return self.count.answered > 0 and not self.count.failed and not self.stuck


@attrs.frozen
class Column:
    """One column of the table: its title, its width (negative: to the right), its cells."""

    title: str
    width: int
    cell: Callable[[Scene, DeploymentStatus], Span]

    def place(self, text: str) -> str:
        """Put *text* in the column's width."""
        return text.ljust(self.width) if self.width > 0 else text.rjust(-self.width)


def _server(scene: Scene, status: DeploymentStatus) -> Span:
    state = scene.servers[status.name]
    return Span(state, "good" if state == WORKS else "bad")


def _figure(value: float | None, suffix: str = "") -> Span:
    return Span("-" if value is None else f"{value:.0f}{suffix}")


_COLUMNS = (
    Column("deployment", 10, lambda _, status: Span(status.name, "bold")),
    Column("server", 11, _server),
    Column("in the pool", 11, lambda _, status: Span(status.state, TONES.get(status.state))),
    Column("answers", -7, lambda scene, status: _figure(_answers(scene, status))),
    Column("share", -6, lambda scene, status: _share(scene, status)),
    Column("p50 ms", -6, lambda _, status: _figure(status.latency_p50_ms)),
    Column("p99 ms", -6, lambda _, status: _figure(status.latency_p99_ms)),
    Column("active", -6, lambda _, status: _figure(status.requests_in_flight)),
)
_SUMMED = (
    *(column for column in _COLUMNS if column.title not in ("server", "in the pool", "active")),
    Column("failed attempts", -15, lambda _, status: _figure(status.total_errors)),
)


def _answers(scene: Scene, status: DeploymentStatus) -> int:
    return scene.count.by_deployment.get(status.name, 0)


def _share(scene: Scene, status: DeploymentStatus) -> Span:
    return _figure(100.0 * scene.count.share(status.name), " %")


def table(scene: Scene, columns: Sequence[Column], width: int | None = None) -> list[Line]:
    """Draw a row for each deployment, with as many of the columns as go into *width*."""
    chosen = list(columns)
    while width is not None and sum(abs(column.width) + 2 for column in chosen) > width:
        chosen.pop()
    head = "".join(f"  {column.place(column.title)}" for column in chosen)
    rows: list[Line] = [[Span(head, "dim")]]
    for status in scene.statuses:
        row: list[Span] = []
        for column in chosen:
            cell = column.cell(scene, status)
            row += [Span("  "), Span(column.place(cell.text), cell.tone)]
        rows.append(row)
    return rows


def introduction(scene: Scene) -> list[Line]:
    """Tell what is about to be seen."""
    names = ", ".join(status.name for status in scene.statuses)
    threads = "1 thread asks" if scene.threads == 1 else f"{scene.threads} threads ask"
    return [
        [Span("llmpool demo", "bold"), Span(f": one pool over three local servers, {names}.")],
        [
            Span(
                f"For {scene.seconds:g} s {threads} the pool, while one server after another fails."
            )
        ],
        [Span("No call should fail; one that meets a server that hangs waits for a time-out.")],
    ]


def page(scene: Scene, columns: int, rows: int) -> list[Line]:
    """Draw the live page for a terminal of that size, the latest happenings at the bottom."""
    lines = [
        *introduction(scene),
        [],
        _progress(scene, columns),
        [],
        *table(scene, _COLUMNS, columns - 1),
        [],
    ]
    if rows >= 20:
        lines += [*([Span(f"  {text}", "dim")] for text in _LEGEND), []]
    room = max(0, rows - 1 - len(lines))
    return lines + [happened(each) for each in scene.happenings[-room:] if room]


def _progress(scene: Scene, columns: int) -> Line:
    length = min(_BAR, columns - _BESIDE_BAR)
    bar = ""
    if length > 0:
        part = min(1.0, scene.elapsed / scene.seconds)
        bar = f"[{('=' * round(part * length)).ljust(length)}]  "
    count = scene.count
    return [
        Span(f"{scene.elapsed:5.1f} s  {bar}calls {count.calls}  "),
        _failed(count),
        Span(f"  failovers {count.failovers}"),
    ]


def _failed(count: Count) -> Span:
    return Span(f"failed {count.failed}", "bad" if count.failed else "good")


def happened(each: Happening) -> Line:
    """Write one happening."""
    return [Span(f"{each.at:5.1f} s  ", "dim"), Span(each.said, each.tone)]


def standing(scene: Scene) -> Line:
    """Write where things stand in one line, for output that is no terminal."""
    count = scene.count
    states = ", ".join(f"{status.name} {status.state}" for status in scene.statuses)
    return [
        Span(f"{scene.elapsed:5.1f} s  calls {count.calls}, "),
        _failed(count),
        Span(f", failovers {count.failovers}; {states}"),
    ]


def summary(scene: Scene, columns: int | None = None) -> list[Line]:
    """Draw what is shown at the end; None is a width without end."""
    count = scene.count
    lines: list[Line] = [
        [Span("summary", "bold")],
        [
            Span(f"  calls {count.calls} ({count.streamed} streamed)  "),
            _failed(count),
            Span(f"  failovers {count.failovers}  slowest call {count.slowest:.2f} s"),
        ],
        [],
        *table(scene, _SUMMED, columns and columns - 1),
        [],
        *map(_spell, scene.spells),
    ]
    if scene.spells:
        lines.append([])
    return lines + _verdict(scene)


def _spell(spell: Spell) -> Line:
    if spell.back_at is None:
        end = "not back yet"
    elif spell.full_at is None:
        end = f"back at {spell.back_at:.1f} s, still recovering"
    elif spell.full_at == spell.back_at:
        end = f"back at {spell.back_at:.1f} s"
    else:
        end = f"back at {spell.back_at:.1f} s, healthy at {spell.full_at:.1f} s"
    span = Span(f"  {spell.deployment:4}  {spell.state:9}  out at {spell.out_at:.1f} s, {end}")
    return [span]


def _verdict(scene: Scene) -> list[Line]:
    count = scene.count
    lines: list[Line] = []
    if scene.interrupted:
        lines.append([Span("Interrupted before its end.", "warn")])
    if scene.stuck:
        lines.append([Span(f"Calls that did not end: {', '.join(scene.stuck)}.", "bad")])
    if count.failed:
        lines.append([Span(f"{count.failed} of {count.calls} calls failed:", "bad")])
        lines += [[Span(f"  {error}")] for error in count.errors]
    elif not count.answered:
        lines.append([Span("No call was answered.", "bad")])
    elif scene.interrupted:
        lines.append([Span("No call had failed.", "good")])
    elif not scene.stuck:
        lines.append([Span("No call failed.", "good"), *_MORAL[:1]])
        lines += [[span] for span in _MORAL[1:]]
    return lines


_MORAL = (
    Span(" When a server failed, the pool asked another one, sent no more"),
    Span("calls to the failed one, and took it back by itself when it answered again."),
)


def record(scene: Scene) -> dict[str, Any]:
    """Give the summary as plain values that JSON can carry; times are seconds after the start."""
    count = scene.count
    return {
        "ok": scene.flawless and not scene.interrupted,
        "interrupted": scene.interrupted,
        "seconds": scene.seconds,
        "threads": scene.threads,
        "calls": count.calls,
        "streamed": count.streamed,
        "failed": count.failed,
        "failovers": count.failovers,
        "slowest": round(count.slowest, 3),
        "errors": [*count.errors, *(f"did not end: {name}" for name in scene.stuck)],
        "deployments": [_deployment(scene, status) for status in scene.statuses],
        "timeline": [
            {"at": round(each.at, 3), "deployment": each.deployment, "said": each.said}
            for each in scene.happenings
        ],
    }


def _deployment(scene: Scene, status: DeploymentStatus) -> dict[str, Any]:
    return {
        "name": status.name,
        "answers": _answers(scene, status),
        "failed_attempts": status.total_errors,
        "share": round(scene.count.share(status.name), 4),
        "latency_p50_ms": status.latency_p50_ms,
        "latency_p99_ms": status.latency_p99_ms,
        "out": [
            attrs.asdict(spell, value_serializer=_rounded)
            for spell in scene.spells
            if spell.deployment == status.name
        ],
    }


def _rounded(_: object, __: object, value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value
