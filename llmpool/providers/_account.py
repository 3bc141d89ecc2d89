"""One key at one server: what every wire format over HTTP sends its requests with."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from llmpool import errors
from llmpool.providers import _translate
from llmpool.providers._forward import Forwarded, Passed
from llmpool.providers._http import ACCEPTED, Deadline, HttpClient, OpenReply
from llmpool.providers._keys import Key, Secret
from llmpool.providers._private import Private, keys_in, texts_in

PACKED = {"Accept-Encoding": ACCEPTED}
PLAIN = {"Accept-Encoding": "identity"}


class Account:
    """
    One key at one server.

    Every phase of a request is under one deadline; a key that a function gives is asked for again
    once after a 401.

    Threads: any.

    Args:
        sign: gives the header fields that carry a key.
        The others are those of :class:`~llmpool.OpenAIProvider`.
    """

    def __init__(
        self,
        base_url: str,
        api_key: Key,
        sign: Callable[[str], Mapping[str, str]],
        *,
        headers: Mapping[str, str] | None,
        proxies: Mapping[str, str] | None,
        verify: bool | str,
        connect_timeout: float,
    ) -> None:
        self._key = Secret(api_key)
        self._sign = sign
        self._http = HttpClient(
            base_url,
            auth=self._signature,
            headers=headers,
            proxies=proxies,
            verify=verify,
            connect_timeout=connect_timeout,
        )
        self._own = frozenset(name.lower() for name in headers or ())
        known, further = self._key.known, keys_in(headers, base_url)
        self._secrets = lambda: (*known(), *further)

    def __repr__(self) -> str:
        return repr(self._http)

    def private(self, body: Mapping[str, Any]) -> Private:
        """Give what the errors of a request with *body* may not show."""
        return Private(self._secrets, functools.partial(texts_in, body))

    def ask(
        self, path: str, body: Mapping[str, Any], timeout: float, *, once: bool = False
    ) -> Mapping[str, Any]:
        """
        Post *body* and give the object that is answered.

        Raises:
            ProviderError: it was answered by an error, or by no object, or not at all.
        """
        private = self.private(body)
        reply = self.open("POST", path, body, timeout, private, PACKED, once=once)
        whole = _translate.plainly(lambda: _translate.read_whole(reply))
        return _translate.read_object(whole, private)

    def visit(self, path: str, timeout: float) -> None:
        """
        Get a page and read it to its end.

        Raises:
            ProviderError: it was answered by an error, or not at all.
        """
        reply = self.open("GET", path, None, timeout, self.private({}), PACKED)
        _translate.plainly(lambda: _translate.read_whole(reply))

    def open(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        timeout: float,
        private: Private,
        headers: Mapping[str, str],
        *,
        once: bool = False,
    ) -> OpenReply:
        """
        Send a request, twice if a function may give a better key; give a good answer's head.

        Raises:
            ProviderError: it was answered by an error, or not at all.
        """
        deadline = Deadline.after(timeout)
        renewals = 1 if self._key.renewable and not once else 0
        while True:
            reply = _translate.plainly(
                lambda: self._http.open(
                    method, path, json=body, headers=headers, deadline=deadline, once=once
                )
            )
            if _translate.is_good(reply.status):
                return reply
            whole = _translate.plainly(functools.partial(_translate.read_whole, reply))
            # Made anew where it is raised: held by this frame, which it holds, it would outlive the call.
            if not renewals or not _wants_another_key(
                _translate.answer_error(whole.status, whole.headers, whole.body, private)
            ):
                raise _translate.answer_error(whole.status, whole.headers, whole.body, private)
            renewals -= 1

    def forward(self, request: Forwarded, timeout: float) -> Passed:
        """
        Send a client's request on, twice if a function may give a better key; give any answer's head.

        Header fields of the provider's own take the place of the client's.

        Raises:
            ProviderError: it was not answered at all.
        """
        deadline = Deadline.after(timeout)
        kept = {name: text for name, text in request.headers.items() if name not in self._own}
        headers = {**(PLAIN if request.streamed else PACKED), **kept}
        private = Private(self._secrets, functools.partial(_texts_of, request.body))
        renewals = 1 if self._key.renewable else 0
        while True:
            reply = _translate.plainly(
                lambda: self._http.open(
                    request.method,
                    request.page,
                    body=request.body,
                    headers=headers,
                    deadline=deadline,
                )
            )
            if reply.status != 401 or not renewals:
                return Passed(reply, private)
            _translate.plainly(functools.partial(_translate.read_whole, reply))
            renewals -= 1

    def close(self) -> None:
        """Close the idle connections."""
        self._http.close()

    def reset_after_fork(self) -> None:
        """Give up the parent's connections."""
        self._http.reset_after_fork()

    def _signature(self) -> Mapping[str, str]:
        key = self._key.reveal()
        return {} if key is None else self._sign(key)


def _wants_another_key(error: errors.ProviderError) -> bool:
    """Tell whether an error is about the key; Gemini has a 400 for that."""
    return error.status == 401 or (
        error.status == 400 and isinstance(error, errors.AuthenticationFailed)
    )


def bearer(key: str) -> Mapping[str, str]:
    """Sign with a key, or a token, as most servers want it."""
    return {"Authorization": f"Bearer {key}"}


def _texts_of(body: bytes | None) -> tuple[str, ...]:
    asked = _translate.decode(body or b"")
    return texts_in(asked) if isinstance(asked, Mapping) else ()
