"""``/`` and ``/page/{name}``: the page, from files beside this one; no build step, nothing from other hosts."""

from __future__ import annotations

from pathlib import Path

import falcon
import falcon.asgi

from stores.openapi import HTML, Operation, Parameter

FOLDER = Path(__file__).parent / "page"
MEDIA = {".html": falcon.MEDIA_HTML, ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
# Its own files, its own server, and pictures that it draws itself.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FILES = tuple(sorted(path.name for path in FOLDER.iterdir() if path.suffix in MEDIA))

OPERATIONS = (
    Operation(
        "get",
        "/",
        "The page: lists that change with every like, how good they are, how fresh.",
        None,
        answer_media=(HTML,),
    ),
    Operation(
        "get",
        "/page/{name}",
        "A file of the page.",
        None,
        parameters=(Parameter("name", str, f"One of {', '.join(FILES)}.", example=FILES[0]),),
        answer_media=tuple(sorted({kind.partition(";")[0] for kind in MEDIA.values()})),
        problems=("not-found",),
    ),
)


class PageResource:
    """Serves the files; they are read once."""

    def __init__(self) -> None:
        self._files = {name: (FOLDER / name).read_bytes() for name in FILES}

    async def on_get(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """The page itself."""
        self._answer(response, "index.html")

    async def on_get_file(self, _request: falcon.asgi.Request, response: falcon.asgi.Response, name: str) -> None:
        """A file of it."""
        if name not in self._files:
            raise falcon.HTTPNotFound
        self._answer(response, name)

    def _answer(self, response: falcon.asgi.Response, name: str) -> None:
        response.content_type = MEDIA[Path(name).suffix]
        response.set_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        response.set_header("Cache-Control", "no-cache")
        response.data = self._files[name]
