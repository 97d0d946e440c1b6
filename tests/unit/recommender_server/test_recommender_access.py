from __future__ import annotations

import hashlib

import pytest
from recommender_fakes import World, in_loop, serving

from models.settings import BadSettings, load
from recommender_server import access
from recommender_server.access import keys_of, public_addresses, scope_of
from recommender_server.openapi import OPERATIONS
from recommender_server.settings import RecommenderSettings

READER, SHOP, OPERATOR = "r" * 43, "s" * 43, "o" * 43


def setting_of(**scopes):
    return ",".join(
        f"{name}:{scopes_of}:{hashlib.sha256(key.encode()).hexdigest()}" for name, (scopes_of, key) in scopes.items()
    )


KEYS = setting_of(reader=("read", READER), shop=("read+ingest", SHOP), operator=("read+ingest+admin", OPERATOR))


def bearing(key):
    return {"Authorization": f"Bearer {key}"}


EVENT = {"event_id": "1", "user_id": "ann", "item_id": "a", "type": "like", "timestamp": 0}


@in_loop
async def test_a_key_does_what_its_scopes_say_and_no_more():
    async with serving(World(), api_keys=KEYS) as client:
        path = "/v1/recommendations?user_id=ann"
        assert (await client.get(path)).status_code == 401
        assert (await client.get(path, headers=bearing("wrong"))).status_code == 401
        assert (await client.get(path, headers=bearing(""))).status_code == 401
        assert (await client.get(path, headers=bearing(READER))).status_code == 200
        refused = await client.post("/v1/events", json=EVENT, headers=bearing(READER))
        assert refused.status_code == 403
        assert (refused.json["type"], refused.json["scope"]) == ("/problems/key-lacks-scope", "ingest")
        assert (await client.post("/v1/events", json=EVENT, headers=bearing(SHOP))).status_code == 202
        assert (await client.delete("/v1/rules/x", headers=bearing(SHOP))).status_code == 403
        assert (await client.delete("/v1/rules/x", headers=bearing(OPERATOR))).status_code == 204
        assert (await client.get("/healthz")).status_code == 200


@in_loop
async def test_a_key_sends_so_many_requests_a_second():
    async with serving(World(), api_keys=KEYS, rate_limit_per_s=3.0) as client:
        statuses = [(await client.get("/v1/popular", headers=bearing(READER))).status_code for _ in range(5)]
        assert statuses[:3] == [200] * 3 and 429 in statuses
        refused = await client.get("/v1/popular", headers=bearing(READER))
        assert refused.status_code == 429 and int(refused.headers["Retry-After"]) >= 1
        assert (await client.get("/v1/popular", headers=bearing(SHOP))).status_code == 200


@in_loop
async def test_a_page_of_another_site_changes_nothing_even_without_keys():
    world = World()
    async with serving(world) as client:
        refused = await client.post("/v1/events", json=EVENT, headers={"Origin": "https://elsewhere.example"})
        assert refused.json["type"] == "/problems/cross-origin"
        own = {"Origin": "http://falconframework.org"}  # the host of Falcon's test client
        assert (await client.post("/v1/events", json=EVENT, headers=own)).status_code == 202


def test_what_nobody_declared_open_takes_a_key_and_an_unknown_change_an_admin():
    assert scope_of("get", "/v1/anything") == "read"
    assert scope_of("post", "/v1/anything") == scope_of("delete", "/v1/items/{item_id}") == "admin"
    open_ones = {one.path for one in OPERATIONS if scope_of(one.method, one.path) is None}
    assert not {path for path in open_ones if path.startswith("/v1/")}


@pytest.mark.parametrize(
    "text",
    ["shop", "shop:read", "shop:read:abc", "shop:write:" + "0" * 64, ":read:" + "0" * 64, "a b:read:" + "0" * 64],
)
def test_a_bad_key_setting_stops_the_start_and_is_not_repeated(text):
    with pytest.raises(BadSettings) as caught:
        load(RecommenderSettings, {"API_KEYS": text + "secretsecret"})
    assert "secretsecret" not in str(caught.value)


def test_two_keys_of_one_name_are_refused():
    with pytest.raises(ValueError, match="same name"):
        keys_of(f"{KEYS},{setting_of(shop=('read', READER))}")


def test_which_addresses_others_can_reach():
    loopback = [("127.0.0.1", 8000), ("::1", 8000), ("localhost", 8000), "unix:/run/x"]
    assert public_addresses(loopback) == []
    assert public_addresses([*loopback, ("0.0.0.0", 80), ("shop.example", 81)]) == ["0.0.0.0:80", "shop.example:81"]


def test_a_key_is_made_with_its_setting(capsys):
    assert access.main(["shop", "read", "ingest"]) == 0
    printed = capsys.readouterr().out.split()
    key = next(word for word in printed if len(word) == 43)
    [made] = keys_of(printed[-1])
    assert made.digest == hashlib.sha256(key.encode()).digest() and made.scopes == {"read", "ingest"}
    assert access.main(["shop"]) == access.main(["shop", "everything"]) == 2
