"""How a server describes its routes, and the OpenAPI 3.1 document that is generated from that.

Each resource file has a table ``OPERATIONS``; the names that stand in it are also those that the resource accepts, so
that the document cannot say one thing and the server do another. Both servers have one, hence its place here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal

import msgspec

JSON = "application/json"
NDJSON = "application/x-ndjson"
TEXT = "text/plain"
HTML = "text/html"
PROBLEM = "application/problem+json"

# Of every operation, whatever it says itself.
COMMON_PROBLEMS = ("internal",)


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of the path or the query, or one member of a body that is given as a tuple of these.

    ``type``: what ``msgspec.json.schema`` understands. ``maximum``: the NAME of a limit that settings decide; its value
    is filled in when the document is made.
    """

    name: str
    type: Any
    doc: str
    required: bool = False
    default: Any = None
    maximum: str | None = None
    example: Any = None


class Operation(msgspec.Struct, frozen=True):
    """One method of one route.

    ``body``: a type, a list of types, a tuple of members, or ``None``. ``answer``: a type, a list of types (any),
    or ``None`` where the answer is text. Of an NDJSON stream both describe one line. ``problems``: the kinds it may
    answer. ``example``: a body. ``line``: what a line of an NDJSON body is, where that is not all that a body may be.
    """

    method: Literal["get", "post", "put", "patch", "delete"]
    path: str
    summary: str
    answer: Any
    parameters: tuple[Parameter, ...] = ()
    body: Any = None
    line: Any = None
    body_media: tuple[str, ...] = (JSON,)
    body_required: bool = True
    answer_media: tuple[str, ...] = (JSON,)
    status: int = 200
    problems: tuple[str, ...] = ()
    example: Any = None

    @property
    def query(self) -> tuple[str, ...]:
        """The names of the query parameters: what the route accepts and nothing else."""
        return tuple(parameter.name for parameter in self.parameters if f"{{{parameter.name}}}" not in self.path)

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the members of a body given as a tuple."""
        return tuple(member.name for member in self.body) if isinstance(self.body, tuple) else ()


class ProblemDocument(msgspec.Struct, frozen=True):
    """An error (RFC 9457). Some kinds have further members."""

    type: str
    title: str
    status: int
    detail: str


class Guard(msgspec.Struct, frozen=True):
    """How a server is guarded: the scope an operation needs of a key, by method and path, and how it is refused."""

    scope_of: Callable[[str, str], str | None]
    problems: tuple[str, ...]


def document(
    title: str,
    version: str,
    operations: Sequence[Operation],
    problems: Mapping[str, tuple[int, str]],
    limits: Mapping[str, int],
    schema_hook: Any = None,
    guard: Guard | None = None,
) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document.

    ``problems``: status and meaning of every kind. ``limits``: what ``Parameter.maximum`` names. ``schema_hook``: as of
    ``msgspec.json.schema_components``, for types that it does not know. ``guard``: of a server that takes keys.
    """
    writer = _Writer(operations, problems, limits, schema_hook)
    paths: dict[str, Any] = {}
    for operation in operations:
        scope = guard.scope_of(operation.method, operation.path) if guard else None
        if guard and scope:
            operation = msgspec.structs.replace(operation, problems=(*operation.problems, *guard.problems))
        written = paths.setdefault(operation.path, {})[operation.method] = writer.operation(operation)
        if scope:
            # Without keys in its settings the server asks for none, hence the empty alternative.
            written["security"] = [{}, {"key": [scope]}]
    schemes = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}} if guard else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": dict(sorted(writer.components.items()))} | schemes,
    }


class _Writer:
    def __init__(
        self,
        operations: Sequence[Operation],
        problems: Mapping[str, tuple[int, str]],
        limits: Mapping[str, int],
        schema_hook: Any,
    ) -> None:
        self._problems = problems
        self._limits = limits
        types: list[Any] = [ProblemDocument]
        for one in operations:
            members = one.body if isinstance(one.body, tuple) else ()
            types += [parameter.type for parameter in (*one.parameters, *members)]
            bodies = one.body if isinstance(one.body, list) else [] if isinstance(one.body, tuple) else [one.body]
            bodies = [*bodies, one.line]
            answers = one.answer if isinstance(one.answer, list) else [one.answer]
            types += [kind for kind in (*bodies, *answers) if kind is not None]
        schemas, components = msgspec.json.schema_components(
            types, ref_template="#/components/schemas/{name}", schema_hook=schema_hook
        )
        self.components = {name: _plain(schema) for name, schema in components.items()}
        self._schemas = list(zip(types, map(_plain, schemas), strict=True))

    def operation(self, one: Operation) -> dict[str, Any]:
        words = re.findall(r"\w+", one.path)
        written: dict[str, Any] = {
            "operationId": "_".join([one.method, *words]),
            "summary": one.summary,
            "parameters": [self._parameter(parameter, one.path) for parameter in one.parameters],
            "responses": self._responses(one),
        }
        if one.body is not None:
            content = {}
            for media in one.body_media:
                of_line = media == NDJSON and one.line is not None
                content[media] = {"schema": self._schema(one.line) if of_line else self._body(one.body)}
                # An example is written as JSON; it is none of a body that is binary.
                if one.example is not None and media in (JSON, NDJSON):
                    content[media]["example"] = one.example
            written["requestBody"] = {"required": one.body_required, "content": content}
        return written

    def _schema(self, kind: Any) -> dict[str, Any]:
        return next(schema for known, schema in self._schemas if known is kind)

    def _any_of(self, kinds: Any) -> dict[str, Any]:
        return {"anyOf": [self._schema(kind) for kind in kinds]} if isinstance(kinds, list) else self._schema(kinds)

    def _bounded(self, parameter: Parameter) -> dict[str, Any]:
        schema = dict(self._schema(parameter.type))
        if parameter.maximum is not None:
            schema["maximum"] = self._limits[parameter.maximum]
        if parameter.default is not None:
            schema["default"] = parameter.default
        return schema

    def _parameter(self, parameter: Parameter, path: str) -> dict[str, Any]:
        in_path = f"{{{parameter.name}}}" in path
        return {
            "name": parameter.name,
            "in": "path" if in_path else "query",
            "required": in_path or parameter.required,
            "description": parameter.doc,
            "schema": self._bounded(parameter),
        } | ({} if parameter.example is None else {"example": parameter.example})

    def _body(self, body: Any) -> dict[str, Any]:
        if not isinstance(body, tuple):
            return self._any_of(body)
        members: tuple[Parameter, ...] = body
        return {
            "type": "object",
            "properties": {one.name: self._member(one) for one in members},
            "required": [one.name for one in members if one.required],
            "additionalProperties": False,
        }

    def _member(self, one: Parameter) -> dict[str, Any]:
        schema = self._bounded(one)
        # ``null`` is as good as a member that is missing.
        return (schema if one.required else {"anyOf": [schema, {"type": "null"}]}) | {"description": one.doc}

    def _responses(self, one: Operation) -> dict[str, Any]:
        schema = {"type": "string"} if one.answer is None else self._any_of(one.answer)
        responses: dict[str, Any] = {
            str(one.status): {
                "description": HTTPStatus(one.status).phrase,
                "content": {media: {"schema": schema} for media in one.answer_media},
            }
        }
        by_status: dict[int, list[str]] = {}
        for kind in (*one.problems, *COMMON_PROBLEMS):
            by_status.setdefault(self._problems[kind][0], []).append(kind)
        for status, kinds in sorted(by_status.items()):
            responses[str(status)] = {
                "description": "; ".join(f"{kind}: {self._problems[kind][1]}" for kind in kinds),
                "content": {PROBLEM: {"schema": self._schema(ProblemDocument)}},
            }
        return responses


def _plain(schema: Any) -> Any:
    """Return the schema with pairs as lists of two of either kind: few tools know ``prefixItems``."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: _plain(value) for name, value in schema.items() if name != "prefixItems"}
    if "prefixItems" in schema:
        plain["items"] = {"anyOf": _plain(schema["prefixItems"])}
    return plain
