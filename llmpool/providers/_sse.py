"""
Event streams, read from bytes as they come.

Server-sent events are those of the HTML standard, section 9.2.6. Lines end at LF, CR or CRLF
and nowhere else (a text method that splits lines would also split at U+2028, which may stand
in JSON), and UTF-8 is decoded only where it is whole.
"""

from __future__ import annotations

from typing import NamedTuple

MOST_BYTES = 4 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class SseEvent(NamedTuple):
    """
    One event that has data.

    Attributes:
        id: The last id the stream has named, in this event or before.
        retry: Milliseconds to wait before connecting again, where this event names them.
    """

    event: str
    data: str
    id: str = ""
    retry: int | None = None


class SseParser:
    """
    Turns the bytes of an event stream into events.

    Comments are left out: they show that the line is open, and nothing about whoever is to answer.

    Args:
        max_bytes: Most bytes of one event.
    """

    def __init__(self, max_bytes: int = MOST_BYTES) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()  # begins at the start of an event; its lines end at LF
        self._searched = 0  # in the rest, up to here no event ends
        self._after_cr = False  # a LF that comes now belongs to a CR that has been read
        self._begun = False
        self._last_id = ""

    def feed(self, data: bytes) -> list[SseEvent]:
        """
        Take in bytes, cut anywhere, and give the events they complete.

        Raises:
            ValueError: An event is larger than it may be; the stream is unreadable from here.
        """
        if not self._begun:
            data = self._without_bom(data)
        if self._after_cr or b"\r" in data:
            data = self._with_plain_lines(data)
        if self._rest:
            return self._feed_rest(data)
        end = data.rfind(b"\n\n")
        if end < 0:
            self._keep(data)
            return []
        if end + 2 < len(data):
            self._keep(data[end + 2 :])
        return self._parse(data[:end])

    def finish(self) -> list[SseEvent]:
        """
        Say that the stream is over, and give an event whose empty line never came.

        The standard drops such an event; some servers leave out the last empty line.
        """
        block = bytes(self._rest)
        self._rest.clear()
        self._searched = 0
        return self._parse(block) if block.endswith(b"\n") else []

    def _without_bom(self, data: bytes) -> bytes:
        data = bytes(self._rest) + data
        self._rest.clear()
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._rest += data
            return b""
        self._begun = True
        return data[3:] if data.startswith(_BOM) else data

    def _with_plain_lines(self, data: bytes) -> bytes:
        """End each line in LF; a CR counts at once, without waiting for the LF behind it."""
        if self._after_cr and data:
            self._after_cr = False
            if data.startswith(b"\n"):
                data = data[1:]
        if data.endswith(b"\r"):
            self._after_cr = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _feed_rest(self, data: bytes) -> list[SseEvent]:
        rest = self._rest
        rest += data
        end = rest.rfind(b"\n\n", self._searched)
        if end < 0:
            self._note_searched()
            return []
        block = bytes(rest[:end])
        del rest[: end + 2]
        self._note_searched()
        return self._parse(block)

    def _keep(self, data: bytes) -> None:
        self._rest += data
        self._note_searched()

    def _note_searched(self) -> None:
        size = len(self._rest)
        if size > self._max_bytes:
            raise ValueError(f"an event is larger than {self._max_bytes} bytes")
        self._searched = size - 1 if size else 0

    def _parse(self, blocks: bytes) -> list[SseEvent]:
        """Read whole events, an empty line between each two."""
        if len(blocks) > self._max_bytes:
            self._check_sizes(blocks)
        # Whole lines hold whole characters; bytes that are none are made visible as such.
        texts = blocks.decode("utf-8", "replace").split("\n\n")
        last_id = self._last_id
        events: list[SseEvent] = []
        add = events.append
        for text in texts:
            # By far the most events are one line of data.
            if text.startswith("data: ") and "\n" not in text:
                add(SseEvent("message", text[6:], last_id))
            else:
                event = self._parse_lines(text)
                last_id = self._last_id
                if event is not None:
                    add(event)
        return events

    def _parse_lines(self, text: str) -> SseEvent | None:
        name = ""
        data: list[str] = []
        retry: int | None = None
        for line in text.split("\n"):
            if line.startswith(":"):
                continue
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data.append(value)
            elif field == "event":
                name = value
            elif field == "id" and "\0" not in value:
                self._last_id = value
            elif field == "retry" and value.isascii() and value.isdigit():
                retry = int(value[:18])
        if not data:
            return None
        return SseEvent(name or "message", "\n".join(data), self._last_id, retry)

    def _check_sizes(self, blocks: bytes) -> None:
        if max(map(len, blocks.split(b"\n\n"))) > self._max_bytes:
            raise ValueError(f"an event is larger than {self._max_bytes} bytes")
