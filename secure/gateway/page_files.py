"""The page at `/`: private search and chat in a browser, from three files and no other server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from secure.http.app import Handler

FOLDER = Path(__file__).parent / "page"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
HEADERS = {
    # No script, style or connection but this server's own, and nothing that would lead a text elsewhere.
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


def page_routes() -> Mapping[str, Handler]:
    """Path → handler of each file, which is read once, here; and of the icon that browsers ask for, of which there is
    none.
    """
    files = {path: _serving((FOLDER / name).read_bytes(), kind) for path, (name, kind) in FILES.items()}
    return {**files, "/favicon.ico": _no_icon}


async def _no_icon(_: Request) -> Response:
    return Response(status_code=204, headers=HEADERS)


def _serving(content: bytes, kind: str) -> Handler:
    async def serve(_: Request) -> Response:
        return Response(content, headers={**HEADERS, "content-type": kind})

    return serve
