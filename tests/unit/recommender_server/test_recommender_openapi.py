"""The tables beside the resources, the routes of the application, and the problems in the code say the same."""

from __future__ import annotations

import ast
import re

import falcon.inspect
from recommender_fakes import World, in_loop, serving

from recommender_server.openapi import OPERATIONS, document
from recommender_server.problems import KINDS
from recommender_server.requests import Bounds
from stores.openapi import COMMON_PROBLEMS
from tests.architecture.source_tree import files, name_of, tree

BOUNDS = Bounds(default_k=10, max_k=200, max_body_bytes=1_048_576, max_batch=1000)


@in_loop
async def test_every_route_is_declared_and_every_declaration_is_a_route():
    async with serving(World()) as client:
        routes = falcon.inspect.inspect_routes(client.app)
    served = {
        (method.method.lower(), route.path) for route in routes for method in route.methods if not method.internal
    }
    declared = [(one.method, one.path) for one in OPERATIONS]
    assert len(declared) == len(set(declared))
    assert set(declared) == served


@in_loop
async def test_the_document_is_served_with_the_limits_of_this_server():
    async with serving(World(), max_k=7) as client:
        served = (await client.simulate_get("/openapi.json")).json
    assert served["openapi"] == "3.1.0"
    parameters = served["paths"]["/v1/recommendations"]["get"]["parameters"]
    k = next(parameter for parameter in parameters if parameter["name"] == "k")
    assert (k["schema"]["minimum"], k["schema"]["maximum"]) == (1, 7)


@in_loop
async def test_the_page_for_people_names_every_route_and_may_load_nothing():
    async with serving(World()) as client:
        page = await client.simulate_get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for one in OPERATIONS:
        assert f"{one.method.upper()} {one.path}<" in page.text
    assert not re.search(r"<script|src=|href=.(?!#|/openapi.json)", page.text)


def test_every_reference_leads_somewhere_and_every_path_parameter_is_declared():
    written = document("0", BOUNDS)
    for match in re.findall(r"'\$ref': '#/components/schemas/([^']+)'", repr(written)):
        assert match in written["components"]["schemas"]
    for path, methods in written["paths"].items():
        for operation in methods.values():
            in_path = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
            assert in_path == set(re.findall(r"{(\w+)}", path)), path


def test_every_problem_in_the_code_is_declared_with_its_status():
    raised = set()
    for path in files("recommender_server"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Problem" and len(node.args) >= 2:
                status, kind = node.args[:2]
                if isinstance(kind, ast.Constant):
                    assert KINDS.get(kind.value, (None,))[0] == ast.literal_eval(status), (
                        f"{name_of(path)}: {kind.value}"
                    )
                    raised.add(kind.value)
    declared = {kind for one in OPERATIONS for kind in (*one.problems, *COMMON_PROBLEMS)}
    assert raised <= declared <= set(KINDS), (raised - declared, declared - set(KINDS))
