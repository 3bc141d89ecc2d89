"""House rules that the source itself can show, read with ast and never imported."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "llmpool"

ROWS = (
    ("contrib", "testing", "commands", "cli", "__main__"),
    ("web",),
    ("__init__",),
    ("pool",),
    ("settings",),
    ("announcer", "asking", "attempt_log", "forwarding", "sending", "telling", "terms"),
    ("checker",),
    ("examiner",),
    ("metronome", "schedule"),
    ("batch", "calls", "checks", "gathered", "leases", "retries", "streams"),
    ("clients",),
    ("providers",),
    ("ledger",),
    ("booking", "places"),
    ("claims", "roster"),
    ("entries", "strategies", "affinity"),
    ("health", "status", "latency", "wishes"),
    ("cooldowns", "fallback", "observers", "quota", "tally"),
    ("wire",),
    ("outcomes",),
    ("_hosts", "codes", "delays", "own_retries", "privacy", "spending"),
    ("errors", "results", "messages", "config"),
    ("_logs",),
    ("_validators", "_forks", "_html", "_made", "_threads", "bell", "clock", "turnstile"),
)
"""Who stands on whom, top row first. A room (a folder) is one entry."""

LEVELS = {room: level for level, row in enumerate(ROWS) for room in row}

THIRD_PARTY = {
    "attrs": None,
    "requests": ("providers", "contrib"),
    "urllib3": ("providers", "contrib"),
    "tenacity": ("retries",),
    "tqdm": ("batch",),
}
"""Libraries the package may import, and the rooms that may do so (None: all)."""

BANNED_MODULES = {"utils", "core", "common", "manager", "helpers", "types"}
BANNED_CLASS_SUFFIXES = ("Manager", "Helper", "Handler", "Impl")
BANNED_NAMES = {("time", "sleep"), ("time", "time"), ("threading", "local")}

SOURCES = sorted(PACKAGE.rglob("*.py"))
each_source = pytest.mark.parametrize(
    "path", SOURCES, ids=[str(path.relative_to(PACKAGE)) for path in SOURCES]
)


def room_of(path: pathlib.Path) -> str:
    """Give the entry of ROWS that *path* belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def tree_of(path: pathlib.Path) -> ast.Module:
    """Parse *path* without what only a type checker reads."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return ast.fix_missing_locations(_WithoutTypeChecking().visit(tree))


class _WithoutTypeChecking(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        return node.orelse if ast.unparse(node.test).endswith("TYPE_CHECKING") else node


def imports_of(path: pathlib.Path) -> Iterator[tuple[str, int]]:
    """Give the full dotted name of all that *path* imports, with the line."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = path.relative_to(PACKAGE.parent).parts[: -node.level]
                base = ".".join((*up, base) if base else up)
            for alias in node.names:
                yield f"{base}.{alias.name}", node.lineno


def rooms_imported(path: pathlib.Path) -> Iterator[tuple[str, int]]:
    """Give the rooms of the package that *path* imports from, its own apart."""
    for name, line in imports_of(path):
        parts = name.split(".")
        if parts[0] == "llmpool":
            room = parts[1] if len(parts) > 1 and parts[1] in LEVELS else "__init__"
            if room != room_of(path):
                yield room, line


@each_source
def test_a_module_has_its_place(path: pathlib.Path) -> None:
    """Every module stands in a row of ROWS, and none is a drawer for odds and ends."""
    assert room_of(path) in LEVELS, "give it a row in ROWS"
    assert BANNED_MODULES.isdisjoint(part.removesuffix(".py") for part in path.parts)


@each_source
def test_imports_go_downwards(path: pathlib.Path) -> None:
    """No module imports from a row above its own."""
    level = LEVELS.get(room_of(path), 0)
    upwards = [
        f"line {line}: {room}" for room, line in rooms_imported(path) if LEVELS[room] < level
    ]
    assert not upwards


def test_imports_within_a_row_make_no_ring() -> None:
    """Rooms of one row may know each other in one direction only."""
    graph: dict[str, set[str]] = {}
    for path in SOURCES:
        graph.setdefault(room_of(path), set()).update(room for room, _ in rooms_imported(path))
    while leaves := [room for room, wanted in graph.items() if not wanted & graph.keys()]:
        for room in leaves:
            del graph[room]
    assert not graph, "these import one another in a ring"


@each_source
def test_third_party_libraries_stay_in_their_rooms(path: pathlib.Path) -> None:
    """requests and urllib3 belong to the wire, tenacity to the retries."""
    room = room_of(path)
    strays = [
        f"line {line}: {name}"
        for name, line in imports_of(path)
        for allowed in [THIRD_PARTY.get(name.split(".")[0])]
        if allowed is not None and room not in allowed
    ]
    assert not strays


@each_source
def test_nothing_sleeps_or_reads_the_wall_clock_or_hides_in_a_thread(path: pathlib.Path) -> None:
    """No time.sleep (an Event is the only sleep), no time.time, no threading.local."""
    found = [
        f"line {node.lineno}: {node.value.id}.{node.attr}"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in BANNED_NAMES
    ]
    banned = {".".join(pair) for pair in BANNED_NAMES}
    found += [f"line {line}: {name}" for name, line in imports_of(path) if name in banned]
    assert not found


@each_source
def test_class_names_say_what_a_thing_is(path: pathlib.Path) -> None:
    """No class ends in Manager, Helper, Handler or Impl."""
    found = [
        f"line {node.lineno}: {node.name}"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef) and node.name.endswith(BANNED_CLASS_SUFFIXES)
    ]
    assert not found


@each_source
def test_a_line_left_out_of_coverage_gives_its_reason(path: pathlib.Path) -> None:
    """``no cover`` and ``no branch`` are followed by a dash and a reason on the same line."""
    bare = [
        f"line {number}: {line.strip()}"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"pragma:\s*no (cover|branch)(?!\s*(-|:)\s*\w.{3})", line)
    ]
    assert not bare
