"""A Jupyter kernel: cells that are run again, interrupted, and shown."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Iterator

import pytest
from hosted import PATIENCE, until
from notebooks import Notebook
from sites import hang_checks

from llmpool.testing import FailWhen, Hang, LocalServer, Stall

pytestmark = [
    pytest.mark.needs("ipykernel", "jupyter_client", "nbclient"),
    pytest.mark.timeout(180),
    # What the client's libraries warn of in this process is their own business.
    pytest.mark.filterwarnings("ignore"),
]

FIRST = """
import gc, sys, threading
import house, llmpool

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
FORGET = """
sys.last_exc = sys.last_value = sys.last_traceback = None
get_ipython().InteractiveTB.tb = None
"""
"""IPython keeps the error of an interrupted cell, with the frames in which a stream may be open. The result
of the cell has it too, until the next cell has ended, and is in a ring: so that one has to collect."""
STATE = "gc.collect()\nstate()"
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
        notebook.run(FORGET)
        fine = until(lambda: notebook.run(STATE).data["text/plain"] == FINE)
        assert fine, notebook.run("state(), pool.health_status().to_dict()").data["text/plain"]


def test_an_interrupted_map(notebook: Notebook, eu: LocalServer, us: LocalServer) -> None:
    """What was done is kept, also where nobody caught the error, and the rest can be asked."""
    eu.behave(FailWhen("hang", Hang()), on="chat")
    us.behave(FailWhen("hang", Hang()), on="chat")
    enough = eu.hits("chat") + us.hits("chat") + 8
    notebook.run("questions = [f'question {n}' for n in range(6)] + ['hang'] * 4")
    notebook.begin("pool.map(questions, max_workers=2)")
    assert until(functools.partial(asked, eu, us, enough))
    assert notebook.interrupt().error == "MapInterrupted"
    eu.restore()
    us.restore()
    said = notebook.run("import sys\ndone = sys.last_value.results\ndone.missing")
    assert said.data["text/plain"] == "[6, 7, 8, 9]"
    shown = notebook.run("sys.last_value").data
    assert "4 not done" in shown["text/html"]
    assert "echo: question 5" in shown["text/html"]
    assert until(lambda: notebook.run("state()").data["text/plain"].startswith("(0, ['eu', 'us']"))
    notebook.run("done.fill(done.missing, pool.map([questions[n] for n in done.missing]))")
    said = notebook.run("[each.text for each in done] == [f'echo: {each}' for each in questions]")
    assert said.data["text/plain"] == "True"


@pytest.mark.parametrize("widgets", ["", "import sys; sys.modules['ipywidgets'] = None"])
def test_a_bar(widgets: str, notebook: Notebook) -> None:
    """It is drawn, or written where there are no widgets to draw it."""
    notebook.run(widgets)
    notebook.run("import warnings; warnings.simplefilter('ignore')")
    said = notebook.run("answers = pool.map(['hello'] * 4)")
    assert "4/4" in said.text or "application/vnd.jupyter.widget-view+json" in said.data


def test_what_is_shown(notebook: Notebook) -> None:
    """A pool, its state and a batch are a table, an answer is its text; and all are a line elsewhere."""
    cells = {
        "pool": "eu",
        "pool.health_status()": "eu",
        "pool.health('eu')": "eu",
        "pool.map(['hello', 'good\\nmorning'])": "echo: good morning",
        "pool.complete('good\\nmorning')": "echo: good\nmorning",
        "llmpool.CompletionResponse('half a sign: \\ud83d')": "half a sign: ?",
        "pool.embed(['one', 'two'])": "2 vectors",
    }
    for cell, words in cells.items():
        shown = notebook.run(cell).data
        assert words in shown["text/html"]
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
