"""What the providers over HTTP do alike, whatever their wire format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from llmpool import _validators as valid
from llmpool.messages import CompletionResponse
from llmpool.providers import _translate
from llmpool.providers._account import PLAIN, Account
from llmpool.providers._stream import AnswerStream, Reader


def complete(
    account: Account,
    path: str,
    body: Mapping[str, Any],
    timeout: float,
    reader: Reader,
    *,
    once: bool,
) -> CompletionResponse:
    """
    Post *body* and read the whole answer.

    Raises:
        ProviderError: of the class that tells what went wrong.
        ValueError: a streamed answer is asked for, for which there is another method.
    """
    if body.get("stream"):
        valid.refuse("stream", "stream() for an answer as it comes", body["stream"])
    answer = account.ask(path, body, timeout, once=once)
    failed = reader.failure_in(answer)
    if failed is not None:
        raise _translate.answer_error(200, {}, failed, account.private(body))
    return reader.read_answer(answer)


def stream(
    account: Account,
    path: str,
    body: Mapping[str, Any],
    timeout: float,
    reader: Reader,
    *,
    once: bool,
) -> AnswerStream:
    """
    Post *body* and read the answer as it comes.

    Raises:
        ProviderError: of the class that tells what went wrong.
    """
    private = account.private(body)
    reply = account.open("POST", path, body, timeout, private, PLAIN, once=once)
    return AnswerStream(reply, private, reader)


def check_page(ping_path: object) -> None:
    """Demand the path of a page."""
    valid.as_text("ping_path", ping_path)
    if not str(ping_path).startswith("/"):
        valid.refuse("ping_path", "a path that begins with /", ping_path)


def refuse_pickle(provider: object) -> NoReturn:
    """
    Refuse to pickle *provider*.

    Raises:
        TypeError: always.
    """
    raise TypeError(
        f"{type(provider).__name__} cannot be pickled: it holds a key and connections; build one "
        "in each process"
    )
