"""``/v1/rules``: rules stored by name, for requests to name."""

from __future__ import annotations

import contextlib

import falcon
import falcon.asgi
import msgspec

from recommender_server import rules
from recommender_server.answers import answer
from recommender_server.degradation import DependencyUnavailable, NewDeadline
from recommender_server.dependencies import Dependencies
from recommender_server.field_types import RuleName
from recommender_server.parameters import BODY_PROBLEMS, QUERY_PROBLEMS
from recommender_server.problems import Problem, bad_parameter
from recommender_server.requests import Bounds, path_id, query_parameters, read_json
from recommender_server.rules import Rule
from stores.openapi import Operation, Parameter

MAX_STORED = 200
NAME = Parameter("name", RuleName, "The name of a rule.", example="summer")


class StoredRules(msgspec.Struct, frozen=True):
    """All rules that a request may name."""

    rules: dict[str, Rule]


OPERATIONS = (
    Operation(
        "get",
        "/v1/rules",
        "All rules that a request may name, those built in among them.",
        StoredRules,
        problems=(*QUERY_PROBLEMS, "items-unavailable"),
    ),
    Operation(
        "get",
        "/v1/rules/{name}",
        "One rule.",
        Rule,
        parameters=(NAME,),
        problems=(*QUERY_PROBLEMS, "unknown-rule", "items-unavailable"),
    ),
    Operation(
        "put",
        "/v1/rules/{name}",
        "Store a rule, in place of the one of that name; it counts everywhere within a second.",
        Rule,
        parameters=(NAME,),
        body=Rule,
        problems=(*BODY_PROBLEMS, "bad-rule", "bad-filter", "too-many-rules", "items-unavailable"),
        example={"boost": [{"filter": "category = 'comedy'", "by": 0.5}], "bury": "price > 50"},
    ),
    Operation(
        "delete",
        "/v1/rules/{name}",
        "Remove a rule.",
        None,
        parameters=(NAME,),
        answer_media=(),
        status=204,
        problems=(*QUERY_PROBLEMS, "items-unavailable"),
    ),
)


class RulesResource:
    """``/v1/rules`` and ``/v1/rules/{name}``."""

    def __init__(self, dependencies: Dependencies, bounds: Bounds, deadline: NewDeadline) -> None:
        self._dependencies = dependencies
        self._bounds = bounds
        self._deadline = deadline

    async def on_get_all(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """List all rules."""
        query_parameters(request, ())
        answer(response, StoredRules(await self._known()))

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response, name: str) -> None:
        """Show one rule."""
        query_parameters(request, ())
        wanted = rules.rule_name(path_id("name", name))
        known = await self._known()
        if wanted not in known:
            raise Problem(404, "unknown-rule", f"no rule is stored under {wanted!r}")
        answer(response, known[wanted])

    async def on_put(self, request: falcon.asgi.Request, response: falcon.asgi.Response, name: str) -> None:
        """Store one rule. Safe to repeat."""
        query_parameters(request, ())
        wanted = _own_name(name)
        rule = rules.checked_rule(await read_json(request, self._bounds.max_body_bytes, self._deadline()))
        known = await self._known()
        if wanted not in known and len(known) >= MAX_STORED:
            raise Problem(409, "too-many-rules", f"{MAX_STORED} rules are stored already")
        await self._put(wanted, msgspec.json.encode(rule))
        answer(response, rule)

    async def on_delete(self, request: falcon.asgi.Request, response: falcon.asgi.Response, name: str) -> None:
        """Remove one rule. Safe to repeat."""
        query_parameters(request, ())
        await self._put(_own_name(name), None)
        response.status = falcon.HTTP_204

    async def _known(self) -> dict[str, Rule]:
        try:
            stored = await self._dependencies.rules(self._deadline(), max_age_s=0.0)
        except DependencyUnavailable as error:
            raise _unavailable(error) from None
        known = dict(rules.BUILT_IN)
        for name, rule in sorted(stored.items()):
            with contextlib.suppress(msgspec.DecodeError):  # of another version: it counts for nothing here
                known[name] = msgspec.json.decode(rule, type=Rule)
        return known

    async def _put(self, name: str, rule: bytes | None) -> None:
        try:
            await self._dependencies.put_rule(name, rule)
        except DependencyUnavailable as error:
            raise _unavailable(error) from None


def _own_name(segment: str) -> str:
    name = rules.rule_name(path_id("name", segment))
    if name in rules.BUILT_IN:
        raise bad_parameter("name", f"{name!r} is built in")
    return name


def _unavailable(error: DependencyUnavailable) -> Problem:
    return Problem(503, "items-unavailable", str(error), retry_after_s=1)
