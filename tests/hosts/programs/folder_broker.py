"""A folder as Celery's broker, in which messages appear whole: kombu's own may be read half written."""

from __future__ import annotations

import pathlib
import time
import uuid
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, filesystem, virtual
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    """Writes a message beside its place, and moves it there."""

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:
        name = f"{time.monotonic_ns():020}_{uuid.uuid4()}.{queue}.msg"
        whole = pathlib.Path(self.data_folder_out, name)
        part = whole.with_name(f"{name}.part")
        part.write_text(dumps(payload), encoding="utf-8")
        part.rename(whole)


class Transport(filesystem.Transport):
    """What ``folder://`` stands for, once this module is imported."""

    Channel = Channel
    # Nothing of the parent class's, which other connections may use.
    global_state = virtual.BrokerState()


TRANSPORT_ALIASES["folder"] = f"{__name__}:Transport"
