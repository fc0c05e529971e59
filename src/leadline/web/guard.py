"""Who may speak to the server: the browser that has the token, from our own page, under our own name.

The server listens on 127.0.0.1 only; any page that the reviewer's browser has open can still send requests there, and
a name of somebody else's may be made to point there (DNS rebinding). So every request must carry the token (in the
printed address, then in a cookie that other sites cannot send), name us as its host, and, where it changes something,
come from our own origin.
"""

from __future__ import annotations

import secrets
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST = 100_000  # bytes of a request's body
NOTHING_ELSE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": NOTHING_ELSE,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """An ASGI app around another one that answers 403 to everybody else."""

    def __init__(self, app: ASGIApp, token: str, port: int):
        self.app, self.token = app, token
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self.cookie = f"leadline_{port}"  # cookies do not tell ports apart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here")
        headers = Headers(scope=scope)
        refused = self.refusal(scope["method"], scope["path"], scope["query_string"], headers)
        if refused is not None:
            status, why = refused
            await PlainTextResponse(why + "\n", status, headers=HEADERS)(scope, receive, send)
            return
        fresh = self._cookie(headers) is None

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    out[name] = value
                if fresh:
                    out.append("Set-Cookie", f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict")
            await send(message)

        await self.app(scope, receive, answer)

    def refusal(self, method: str, path: str, query: bytes, headers: Headers) -> tuple[int, str] | None:
        """(status, reason) for a request that is not answered; None for one that is."""
        host = headers.get("host", "")
        if host not in self.hosts:
            return 403, f"leadline review answers as {' or '.join(sorted(self.hosts))} only"
        given = self._cookie(headers)
        if given is None and method == "GET" and path == "/":
            given = parse_qs(query.decode("latin-1")).get("token", [""])[0]
        if given is None or not secrets.compare_digest(given.encode(), self.token.encode()):
            return 403, "open the address that `leadline review` printed: it carries the token"
        if method in ("GET", "HEAD"):
            return None
        if headers.get("origin") != f"http://{host}":
            return 403, "only this server's own page may change anything"
        if not headers.get("content-length", "").isdigit() or int(headers["content-length"]) > MOST:
            return 413, "the request is too long"
        return None

    def _cookie(self, headers: Headers) -> str | None:
        """The token that the browser sent; None where it sent none, or an old one."""
        found = cookie_parser(headers.get("cookie", "")).get(self.cookie, "")
        return found if secrets.compare_digest(found.encode(), self.token.encode()) else None
