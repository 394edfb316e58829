"""What stands before every route: who may ask, how often, and how much may be sent. Plain ASGI."""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections import OrderedDict
from typing import Any

from earthgen.app.settings import LOOPBACK, Settings

_FORM_BYTES = 2 << 20
"""Of a body that is no upload."""
_KEPT_ADDRESSES = 10_000
_GRADIO = "/gradio_api/"
_GRADIO_USED = re.compile(
    r"/gradio_api/(queue/(join|data)|call|run|api|info|app_id|heartbeat|cancel|reset|startup-events)(/|$)"
)
"""What the page and gradio's clients need. Gradio's own uploads, files, proxy and recorder are not reached."""
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"SAMEORIGIN"),
]
_MAP = re.compile(r"/(tiles/|tilejson\.json$|bbox\.|statistics$)")
_FOR_ALL = (b"access-control-allow-origin", b"*")
"""Of the map alone, which MapLibre on a page from elsewhere reads by `fetch`; without a browser's user and password."""


class Rate:
    """A bucket of requests for each address, which fills at a steady rate."""

    def __init__(self, rate: float, burst: int) -> None:
        self.rate, self.burst = rate, burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, address: str) -> float:
        """Take one. 0, or the seconds until there is one."""
        now = time.monotonic()
        left, then = self._buckets.pop(address, (float(self.burst), now))
        left = min(self.burst, left + (now - then) * self.rate)
        allowed = left >= 1
        self._buckets[address] = (left - allowed, now)
        while len(self._buckets) > _KEPT_ADDRESSES:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self.rate


class Guard:
    """Around the whole application."""

    def __init__(self, app: Any, settings: Settings, engine: Any = None) -> None:
        self.app, self.settings, self.engine = app, settings, engine
        self._rate = Rate(settings.rate, settings.burst)
        self._limits = {"/uploads": settings.upload_bytes, "/labels": settings.labels_bytes}
        self._credentials = None
        if settings.user is not None:
            self._credentials = base64.b64encode(f"{settings.user}:{settings.password}".encode())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return None
        refused = self._refused(scope)
        if refused is not None:
            return await _answer(send, *refused)

        async def noted(message: Any) -> None:
            if message["type"] == "http.response.start":
                shared = [_FOR_ALL] if _MAP.match(scope["path"]) else []
                message = {**message, "headers": [*message.get("headers", []), *_HEADERS, *shared]}
            await send(message)

        return await self.app(scope, receive, noted)

    def _refused(self, scope: Any) -> tuple[int, str, list[tuple[bytes, bytes]]] | None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if self.settings.local and _host_name(host) not in (*LOOPBACK, "testserver"):
            return 421, "this server answers to its own name alone", []  # a foreign page may not rebind a name to us
        if self._credentials is not None:
            kind, _, given = headers.get(b"authorization", b"").partition(b" ")
            if kind.lower() != b"basic" or not secrets.compare_digest(given.strip(), self._credentials):
                return 401, "user and password are needed", [(b"www-authenticate", b'Basic realm="earthgen"')]
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            origin = headers.get(b"origin", b"").decode("latin-1")
            if headers.get(b"sec-fetch-site") == b"cross-site" or (origin and origin.partition("://")[2] != host):
                return 403, "another site may not ask for this", []
        path = scope["path"]
        if path.startswith(_GRADIO) and not _GRADIO_USED.match(path):
            return 404, "there is no such route", []
        if b"transfer-encoding" in headers:  # the length is said, and the server holds the client to it
            return 411, "the body's length must be said", []
        length = headers.get(b"content-length", b"0")
        limit = self._limits.get(path, _FORM_BYTES)
        if not length.isdigit() or int(length[:20]) > limit:
            return 413, f"a body of at most {limit} bytes is taken", []
        if seconds := self._rate.wait((scope.get("client") or ("", 0))[0]):
            return 503, "too many requests, come again", [(b"retry-after", str(int(seconds) + 1).encode())]
        return None


def _host_name(host: str) -> str:
    """Without its port."""
    return host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0].lower()


async def _answer(send: Any, status: int, detail: str, headers: Any = ()) -> None:
    body = json.dumps({"detail": detail}).encode()
    about = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers, *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": about})
    await send({"type": "http.response.body", "body": body})
