"""Every operation of both OpenAPI documents, called with the document's own examples against the real processes.

The walk is over the documents that the servers answer: a route that is added there is called here, or this fails.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.system.real_loop import RealLoop

JSON, NDJSON, EVENT_STREAM = "application/json", "application/x-ndjson", "text/event-stream"
# What is made is asked for before it is changed, and taken away last.
ORDER = ("put", "post", "get", "patch", "delete")
METHODS = {"get", "put", "post", "patch", "delete", "head", "options", "trace"}


def _operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    found = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    ]
    return sorted(found, key=lambda one: ORDER.index(one[0]))


def _request(
    url: str, method: str, path: str, operation: dict[str, Any], known: dict[str, str]
) -> urllib.request.Request:
    """Return a request of the examples and of what is ``known``; fails where there is nothing for what is required."""
    query = {}
    for parameter in operation["parameters"]:
        value = known.get(parameter["name"], parameter.get("example"))
        if value is not None:
            value = str(value)
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", urllib.parse.quote(value, safe=""))
            else:
                query[parameter["name"]] = value
        else:
            assert not parameter["required"], f"{method} {path}: no example of {parameter['name']}"
    address = url + path + ("?" + urllib.parse.urlencode(query) if query else "")
    contents = operation.get("requestBody", {}).get("content", {})
    if not contents:
        return urllib.request.Request(address, method=method.upper())
    media = JSON if JSON in contents else next(iter(contents))
    assert "example" in contents[media], f"{method} {path}: no example of a body"
    body = json.dumps(contents[media]["example"]).encode() + (b"\n" if media == NDJSON else b"")
    headers = {"Content-Type": media, "Accept": "*/*" if NDJSON in media else JSON}
    return urllib.request.Request(address, body, headers, method=method.upper())


def _call(request: urllib.request.Request) -> tuple[int, str, bytes]:
    """Return status, media type and body; of a stream without an end the first line."""
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            media = response.headers.get_content_type()
            return response.status, media, response.readline() if media == EVENT_STREAM else response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get_content_type(), error.read()


def _walk(url: str, **known: str) -> int:
    """Call everything the server at this address says it has; return how many operations that were.

    ``known``: values of parameters that no example can have.
    """
    _, _, body = _call(urllib.request.Request(f"{url}/openapi.json"))
    operations = _operations(json.loads(body))
    wrong = []
    for method, path, operation in operations:
        status, media, answer = _call(_request(url, method, path, operation, known))
        expected = next(code for code in operation["responses"] if code.startswith("2"))
        if str(status) != expected:
            wrong.append(f"{method} {path}: {status}, not {expected}: {answer[:300]!r}")
        elif status != 204 and media not in operation["responses"][expected]["content"]:
            wrong.append(f"{method} {path}: answered {media}")
        elif media == NDJSON:
            for line in answer.splitlines():
                if json.loads(line).get("status") == "rejected" or "problem" in json.loads(line):
                    wrong.append(f"{method} {path}: {line[:300]!r}")
        elif media == JSON:
            json.loads(answer)
    assert not wrong, "\n".join(wrong)
    return len(operations)


def test_every_operation_of_the_recommender(loop: RealLoop) -> None:
    request_id = loop.get("/v1/recommendations?user_id=u1")[1]["request_id"]
    loop.wait(lambda: loop.get(f"/v1/recommendations/{request_id}")[0] == 200, "the log has what was served")
    assert _walk(loop.recommender_url, request_id=request_id) >= 40
    assert loop.get("/v1/status")[1]["answers_5xx"] == 0


def test_every_operation_of_the_index(tmp_path: Path) -> None:
    # An index of its own: its examples load a table of two dimensions, which nobody's trainer would stand for.
    loop = RealLoop(tmp_path)
    try:
        loop.start("faiss_server")
        loop.wait(lambda: _call(urllib.request.Request(f"{loop.index_url}/healthz"))[0] == 200, "the index answers")
        assert _walk(loop.index_url) >= 14
    finally:
        loop.stop()
