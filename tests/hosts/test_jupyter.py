"""A Jupyter kernel: cells that are run again, interrupted, and shown."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Iterator

import pytest
from hosted import PATIENCE, until
from notebooks import Notebook
from sites import hang_checks

from llmpool.testing import Hang, LocalServer, Stall

pytestmark = [
    pytest.mark.needs("ipykernel", "jupyter_client", "nbclient"),
    pytest.mark.timeout(180),
    # What the client's libraries warn of in this process is their own business.
    pytest.mark.filterwarnings("ignore"),
]

FIRST = """
import gc, threading
import house

def checkers():
    return sum(each.name.startswith("llmpool-checker-") for each in threading.enumerate())

def state():
    now = house.state(pool)
    return now["in_flight"], now["healthy"], sum(each.total_errors for each in pool.all_health().values())

pool = house.build()
assert not house.astray(pool, "cell")
"""
BRIEFLY = "%xmode Minimal"
"""To show where an interrupt fell takes a kernel a second."""
FINE = "(0, ['eu', 'us'], 0)"


@pytest.fixture
def notebook(house: dict[str, str], tmp_path: pathlib.Path) -> Iterator[Notebook]:
    """A kernel in which there is a pool that has been used."""
    notebook = Notebook(tmp_path, {**house, "JUPYTER_RUNTIME_DIR": str(tmp_path)})
    try:
        notebook.run(FIRST)
        notebook.run(BRIEFLY)
        yield notebook
    finally:
        notebook.close()


def test_a_cell_run_ten_times(notebook: Notebook) -> None:
    """The pools before the last one are forgotten, and their threads end."""
    for _ in range(10):
        notebook.run("pool = house.build()\npool.complete('hello').text")
    notebook.run("gc.collect()")
    assert until(lambda: notebook.run("print(checkers())").text.strip() == "1")
    assert (
        notebook.run("assert not house.astray(pool, 'at last')\nstate()").data["text/plain"] == FINE
    )


def test_a_module_loaded_again(notebook: Notebook, tmp_path: pathlib.Path) -> None:
    """What autoreload replaces is forgotten too."""
    module = tmp_path / "mine.py"
    source = "import house\nPOOL = house.build()\nPOOL.complete('hello')\n"
    module.write_text(source)
    notebook.run("del pool\n%load_ext autoreload\n%autoreload 2\nimport mine")
    for turn in range(3):
        module.write_text(f"{source}TURN = {turn}\n{'#' * turn}\n")
        said = notebook.run("print(mine.TURN, mine.POOL.complete('again').text)")
        assert said.text == f"{turn} echo: again\n"
    notebook.run("gc.collect()")
    assert until(lambda: notebook.run("print(checkers())").text.strip() == "1")


def test_an_interrupt_in_a_call(notebook: Notebook, eu: LocalServer, us: LocalServer) -> None:
    """It ends the cell and blames nobody; the next cell works."""
    for server in (eu, us):
        server.forget()
        server.behave(Hang(), on="chat")
    notebook.begin("pool.complete('a question that nobody answers')")
    assert until(functools.partial(asked, eu, us, 1))
    assert notebook.interrupt().error == "KeyboardInterrupt"
    eu.restore()
    us.restore()
    said = notebook.run("print(pool.complete('hello').text)\nstate()")
    assert said.text == "echo: hello\n"
    assert said.data["text/plain"] == FINE


def test_an_interrupt_in_a_stream(notebook: Notebook, eu: LocalServer, us: LocalServer) -> None:
    """The same where the reader waits for more."""
    eu.behave(Stall(2), on="chat")
    us.behave(Stall(2), on="chat")
    notebook.begin(
        "for chunk in pool.stream('one two three four'):\n    print(chunk.text, flush=True)"
    )
    notebook.read(lambda said: said.over or len(said.text.split()) == 2)
    assert notebook.interrupt().error == "KeyboardInterrupt"
    eu.restore()
    us.restore()
    said = notebook.run("print(''.join(chunk.text for chunk in pool.stream('hello')))\nstate()")
    assert said.text == "echo: hello\n"
    assert said.data["text/plain"] == FINE


def asked(eu: LocalServer, us: LocalServer, times: int) -> bool:
    """Tell whether so many questions have come in all."""
    return eu.hits("chat") + us.hits("chat") >= times


@pytest.mark.parametrize(
    "cell",
    [
        "while True:\n    assert not house.astray(pool, 'on and on', 1, 1)",
        "while True:\n    assert pool.complete('on and on').text == 'echo: on and on'",
        "while True:\n    assert ''.join(each.text for each in pool.stream('on')) == 'echo: on'",
    ],
    ids=["threads", "calls", "streams"],
)
def test_interrupts_at_any_moment(
    cell: str, notebook: Notebook, eu: LocalServer, us: LocalServer
) -> None:
    """Wherever they fall, no place is kept and nobody is blamed."""
    for turn in range(30):
        enough = eu.hits("chat") + us.hits("chat") + 1 + turn % 7
        notebook.begin(cell)
        assert until(functools.partial(asked, eu, us, enough))
        assert notebook.interrupt().error == "KeyboardInterrupt"
        assert until(lambda: notebook.run("state()").data["text/plain"] == FINE)


def test_an_interrupted_map(notebook: Notebook, eu: LocalServer, us: LocalServer) -> None:
    """What was done is kept."""
    eu.behave(Hang(), on="chat")
    us.behave(Hang(), on="chat")
    enough = eu.hits("chat") + us.hits("chat") + 4
    notebook.begin("pool.map(['hello'] * 8, max_workers=4, progress=False)")
    assert until(functools.partial(asked, eu, us, enough))
    assert notebook.interrupt().error == "MapInterrupted"
    eu.restore()
    us.restore()
    assert until(lambda: notebook.run("state()").data["text/plain"].startswith("(0, ['eu', 'us']"))
    said = notebook.run("[each.text for each in pool.map(['a', 'b'], progress=False)]")
    assert said.data["text/plain"] == "['echo: a', 'echo: b']"


def test_what_is_shown(notebook: Notebook) -> None:
    """A pool and its state are a table, and a line where there are no tables."""
    for cell in ("pool", "pool.health_status()", "pool.health('eu')"):
        shown = notebook.run(cell).data
        assert "<table" in shown["text/html"]
        assert "eu" in shown["text/html"]
        assert shown["text/plain"]


def test_the_kernels_loop(notebook: Notebook) -> None:
    """A call in a cell that runs in the kernel's own loop blocks it, and works."""
    cell = "import asyncio\nawait asyncio.sleep(0)\nprint(pool.complete('hello').text)"
    assert notebook.run(cell).text == "echo: hello\n"


def test_the_kernels_end(notebook: Notebook, us: LocalServer) -> None:
    """It does not wait for a check that hangs."""
    hang_checks(us)
    assert notebook.shut_down()


def test_a_whole_notebook(house: dict[str, str], tmp_path: pathlib.Path) -> None:
    """It runs from top to bottom, as a report does, and holds the tables."""
    import nbformat
    from nbclient import NotebookClient

    cells = [FIRST, "pool.health_status()", "print(pool.complete('hello').text)", "pool.close()"]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(book, timeout=PATIENCE, kernel_name="python3").execute(
        cwd=str(tmp_path), env={**house, "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    )
    assert "<table" in book.cells[1].outputs[0].data["text/html"]
    assert book.cells[2].outputs[0].text == "echo: hello\n"
