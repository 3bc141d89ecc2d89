"""What the providers over HTTP are alike in, whatever their wire format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from llmpool import _validators as valid
from llmpool.messages import CompletionResponse
from llmpool.providers import _translate
from llmpool.providers._account import PLAIN, Account
from llmpool.providers._keys import Key
from llmpool.providers._stream import AnswerStream, Reader


class HttpProvider:
    """
    One key at one server.

    Args:
        address: under which the server's pages are.
        sign: gives the header fields that carry a key.
        The others are those of :class:`~llmpool.OpenAIProvider`.
    """

    def __init__(
        self,
        address: str,
        api_key: Key,
        sign: Callable[[str], Mapping[str, str]],
        *,
        model: str | None,
        ping_path: str,
        headers: Mapping[str, str] | None,
        proxies: Mapping[str, str] | None,
        verify: bool | str,
        connect_timeout: float,
    ) -> None:
        valid.as_text("model", model, none=True)
        valid.as_text("ping_path", ping_path)
        if not ping_path.startswith("/"):
            valid.refuse("ping_path", "a path that begins with /", ping_path)
        self.model = model
        self._ping_path = ping_path
        self._account = Account(
            address,
            api_key,
            sign,
            headers=headers,
            proxies=proxies,
            verify=verify,
            connect_timeout=connect_timeout,
        )

    def ping(self, timeout: float) -> None:
        """
        Ask for the list of models, or for the page named instead.

        Raises:
            ProviderError: of the class that tells what went wrong.
        """
        self._account.visit(self._ping_path, timeout)

    def close(self) -> None:
        """Close the idle connections."""
        self._account.close()

    def reset_after_fork(self) -> None:
        """Give up the parent's connections."""
        self._account.reset_after_fork()

    def _complete(
        self, path: str, body: Mapping[str, Any], timeout: float, reader: Reader, *, once: bool
    ) -> CompletionResponse:
        """Post *body* and read the whole answer."""
        if body.get("stream"):
            valid.refuse("stream", "stream() for an answer as it comes", body["stream"])
        account = self._account
        answer = account.ask(path, body, timeout, once=once)
        failed = reader.failure_in(answer)
        if failed is not None:
            raise _translate.answer_error(200, {}, failed, account.private(body))
        return reader.read_answer(answer)

    def _stream(
        self, path: str, body: Mapping[str, Any], timeout: float, reader: Reader, *, once: bool
    ) -> AnswerStream:
        """Post *body* and read the answer as it comes."""
        private = self._account.private(body)
        reply = self._account.open("POST", path, body, timeout, private, PLAIN, once=once)
        return AnswerStream(reply, private, reader)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._account!r}, model={self.model!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be pickled: it holds a key and connections; build one "
            "in each process"
        )
