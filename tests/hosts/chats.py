"""The example applications seen from outside: each is a small chat with the same pages."""

from __future__ import annotations

import http.client
import http.cookies
import json
import pathlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import attrs
from hosted import PATIENCE, START_SECONDS, Launch, Program, python, until

from llmpool.testing import LocalServer, Refuse

EXAMPLES = pathlib.Path(__file__).parents[2] / "docs" / "examples"


@attrs.frozen
class Answer:
    """What came of one request."""

    status: int
    headers: http.client.HTTPMessage
    text: str


class Chat:
    """A running example, with the cookie and the header that Django demands of a POST."""

    def __init__(self, program: Program, port: int | str) -> None:
        self.program = program
        self._port = int(port)
        self._token = ""

    def send(self, method: str, path: str, **form: str) -> Answer | None:
        """Send a request; None if it does not serve."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        headers = {"Cookie": f"csrftoken={self._token}", "X-CSRFToken": self._token}
        if form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, path, urlencode(form) if form else None, headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read().decode())
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def must(self, method: str, path: str, **form: str) -> Answer:
        """Send a request that is answered."""
        answer = self.send(method, path, **form)
        assert answer is not None, self.program.log
        return answer

    def up(self) -> Chat:
        """Wait until it serves; take the token of its page, if it gives one."""
        up = until(lambda: self.send("GET", "/") or not self.program.runs, START_SECONDS)
        assert up, self.program.log
        page = self.must("GET", "/")
        assert "<title>Chat</title>" in page.text
        cookies = http.cookies.SimpleCookie(page.headers.get("Set-Cookie", ""))
        if "csrftoken" in cookies:
            self._token = cookies["csrftoken"].value
        return self

    def asks(self, question: str) -> int:
        """Ask a question, get its own answer, whole and streamed; tell which process answered."""
        told: dict[str, Any] = json.loads(self.must("POST", "/ask", q=question).text)
        assert told["text"] == f"echo: {question}"
        streamed = self.must("POST", "/stream", q=question).text
        events = [event for event in streamed.split("\n\n") if event.startswith("data: ")]
        assert "".join(json.loads(event[6:]) for event in events) == f"echo: {question}"
        assert streamed.endswith("event: end\ndata: {}\n\n")
        return int(told["pid"])

    def crowd(self, number: int = 24) -> set[int]:
        """Let several ask at a time; give the processes that answered."""
        with ThreadPoolExecutor(6) as readers:
            return set(readers.map(self.asks, [f"question {n}" for n in range(number)]))

    def workers(self, number: int) -> set[int]:
        """Give the processes that answer, once so many have been seen."""
        seen: set[int] = set()
        assert until(lambda: seen.update(self.crowd()) or len(seen) == number), self.program.log
        return seen

    def live_through_an_outage(self, pids: set[int], eu: LocalServer, us: LocalServer) -> None:
        """One server dies, then the other, and both come back, which each process finds out itself."""
        assert self.crowd() <= pids
        eu.behave(Refuse())
        self.crowd()
        us.behave(Refuse())
        assert until(lambda: self._statuses() == (503, 503)), self.program.log
        eu.restore()
        us.restore()
        assert self._are_well(pids), self.program.log
        assert self.crowd() <= pids

    def _statuses(self) -> tuple[int, int]:
        """Give the status of a question and that of the health page."""
        return (
            self.must("POST", "/ask", q="hello").status,
            self.must("GET", "/llmpool/healthz").status,
        )

    def _are_well(self, pids: set[int]) -> bool:
        """Wait until each process has told that both deployments are healthy."""
        left = set(pids)

        def heard() -> bool:
            told = json.loads(self.must("GET", "/llmpool/status").text)
            if told["pools"][0]["healthy_deployments"] == 2:
                left.discard(told["pid"])
            return not left

        return until(heard)


def gunicorn(
    launch: Launch, folder: pathlib.Path, application: str, *options: str, **environment: str
) -> Chat:
    """Start gunicorn on a port of its choice, with two workers."""
    common = ["--bind", "127.0.0.1:0", "--workers", "2", "--threads", "4", "--no-control-socket"]
    command = ["-m", "gunicorn", *common, *options, "--chdir", str(folder), application]
    program = launch(python(*command), **environment)
    return Chat(program, program.said(r"Listening at: http://127\.0\.0\.1:(\d+)")).up()
