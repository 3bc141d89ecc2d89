"""A browser of sorts: it keeps the page's cookie, and sends what a page of the same origin would."""

from __future__ import annotations

import json
from typing import Any

from llmpool import Deployment, ProviderPool
from llmpool.testing import ManualClock, ScriptedProvider
from llmpool.web import Reply, StatusSite

HOST = "pool.example"


def pool_of(*names: str, **options: Any) -> ProviderPool:
    """Give a pool without a checker, whose deployments answer whatever comes."""
    options = {"name": "main", "health_check": None, "clock": ManualClock(), **options}
    deployments = [Deployment(name, ScriptedProvider("fine", repeat=True)) for name in names]
    return ProviderPool(deployments, **options)


class Viewer:
    """Somebody in front of *site*."""

    def __init__(self, site: StatusSite, request: Any = "somebody") -> None:
        self.site = site
        self.request = request
        self.cookie: str | None = None

    def get(self, path: str, method: str = "GET", **headers: str) -> Reply:
        """Ask for a page, and keep the cookie that comes with it."""
        if self.cookie is not None:
            headers.setdefault("Cookie", f"other=1; llmpool_csrf={self.cookie}")
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = self.site.respond(method, path, {"Host": HOST, **sent}, request=self.request)
        for name, value in reply.headers:
            if name == "Set-Cookie":
                self.cookie = value.partition(";")[0].partition("=")[2]
        return reply

    def json(self, path: str) -> Any:
        """Ask for JSON."""
        return json.loads(self.get(path).body)

    def pools(self, path: str = "/status") -> Any:
        """Give the feed's pools by name."""
        return {pool["name"]: pool for pool in self.json(path)["pools"]}

    def deployments(self, pool: str = "main") -> Any:
        """Give a pool's deployments in the feed by name."""
        return {each["name"]: each for each in self.pools()[pool]["deployments"]}

    def post(self, order: Any, secure: bool = False, **changed: str | None) -> Reply:
        """Ask for something to be done, as the page's script does; a header that is None is left out."""
        if self.cookie is None:
            self.get("/")
        headers = {
            "Host": HOST,
            "Origin": f"http{'s' if secure else ''}://{HOST}",
            "Sec-Fetch-Site": "same-origin",
            "Content-Type": "application/json",
            "Cookie": f"llmpool_csrf={self.cookie}",
            "X-LLMPool-CSRF": self.cookie,
        }
        headers.update({name.replace("_", "-"): value for name, value in changed.items()})
        sent = {name: value for name, value in headers.items() if value is not None}
        body = order if isinstance(order, bytes) else json.dumps(order).encode()
        return self.site.respond("POST", "/control", sent, body, self.request, secure=secure)


def order(action: str = "drain", deployment: str = "eu", pool: str = "main") -> dict[str, str]:
    """Give what a POST asks for."""
    return {"pool": pool, "deployment": deployment, "action": action}


def header(reply: Reply, name: str) -> str | None:
    """Give a header of a reply, None where there is none; there is never more than one."""
    found = [value for each, value in reply.headers if each.lower() == name.lower()]
    assert len(found) <= 1
    return found[0] if found else None
