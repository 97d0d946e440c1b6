"""Items in Redis: records, listings, popular lists, the item graph, rules, serving state, and a search by words.

A projection of topic ``items`` and of the trainer's state: all but the rules can be made again. One Redis with its
replicas, version 7 or later, not a cluster: an item and its words are written in one step. How it is kept there is
told in ``stores.redis_item_scripts``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import MasterDownError
from redis.retry import Retry

from models.items import Item, encode_item
from stores.decoded_once import MOST_EDGES, MOST_RECORDS, DecodedOnce
from stores.item_words import MAX_SEARCH_WORDS, weighted_words, words_of
from stores.ports import Edges, Numbered, ServingState, StaleEpoch, StoreUnavailable, epoch_of
from stores.redis_item_scripts import DELETE_ITEMS, LIST_ITEMS, PUT_ITEMS, PUT_VERSIONED, SEARCH_TEXT

DEFAULT_PREFIX = "recommender"
# Connections of one process. Requests of one turn of the event loop share their reads, so a few are enough; who finds
# none free waits for one within his deadline.
MAX_CONNECTIONS = 16
# What one script writes: Redis answers nobody else meanwhile.
_ITEMS_AT_ONCE = 50
_VALUES_AT_ONCE = 200
_VERSION_DIGITS = 20
# Not there, or there and not able to serve; any other error in an answer is a fault of ours and keeps its own name.
_AWAY = (
    *(redis.ConnectionError, redis.TimeoutError, redis.InvalidResponse, redis.OutOfMemoryError, redis.ReadOnlyError),
    MasterDownError,
)
_UNABLE = ("MISCONF", "NOREPLICAS", "BUSY", "UNKILLABLE")

_decode_item = msgspec.json.Decoder(Item).decode
_decode_ids = msgspec.json.Decoder(list[str]).decode
_decode_scored = msgspec.json.Decoder(list[tuple[str, float]]).decode
_decode_state = msgspec.json.Decoder(ServingState).decode
_encode = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode

_log = logging.getLogger(__name__)

Command = tuple[Any, ...]


class RedisItemReader:
    """Items as serving sees them. Every reading call is one round trip. Connects when first asked."""

    def __init__(self, url: str, *, prefix: str, timeout_s: float) -> None:
        self._prefix, self._timeout_s = f"{prefix}:", timeout_s
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url, timeout=timeout_s, retry=AsyncRetry(NoBackoff(), 0), **_options(timeout_s)
        )
        self._client = redis.asyncio.Redis.from_pool(pool)
        self._records = DecodedOnce(_decode_item, MOST_RECORDS)
        self._edges = DecodedOnce(lambda held: Edges(_decode_scored(held[_VERSION_DIGITS:])), MOST_EDGES)

    @classmethod
    def from_url(cls, url: str, timeout_s: float) -> RedisItemReader:
        """Take ``redis://[user:password@]host:port/db?prefix=name``, ``rediss://`` or ``unix:///path?db=0``."""
        server, prefix = _server_and_prefix(url)
        return cls(server, prefix=prefix, timeout_s=timeout_s)

    async def get_many(self, item_ids: Sequence[str]) -> dict[str, Item]:
        """Return the known ones among these items."""
        return {item_id: self._records.of(item_id, held) for item_id, held in await self._values("records", item_ids)}

    async def popular(self, name: str, limit: int) -> list[tuple[str, float]]:
        """Return a popular list, best first; empty when there is none of that name."""
        held = await self._ask(("HGET", f"{self._prefix}popular", name))
        return _decode_scored(held[_VERSION_DIGITS:])[:limit] if held else []

    async def neighbours(self, item_ids: Sequence[str]) -> dict[str, Edges]:
        """Return the edges item → next item of each known item."""
        return {item_id: self._edges.of(item_id, held) for item_id, held in await self._values("neighbours", item_ids)}

    async def recent_users(self, item_ids: Sequence[str]) -> dict[str, list[str]]:
        """Return the user_ids who consumed each of these items last, newest first."""
        held = await self._values("recent_users", item_ids)
        return {item_id: _decode_ids(user_ids[_VERSION_DIGITS:]) for item_id, user_ids in held}

    async def search_text(self, text: str, limit: int) -> list[Item]:
        """Return available items whose title or text match every word, the last word by prefix, best first.

        Bounded: ``MAX_COMPLETIONS`` and ``MAX_CANDIDATES`` in ``stores.redis_item_scripts``.
        """
        words = words_of(text)[:MAX_SEARCH_WORDS]
        if not words:
            return []
        others = dict.fromkeys(words[:-1])
        records = await self._ask(_script(SEARCH_TEXT, self._prefix, limit, words[-1], *others))
        return [_decode_item(record) for record in records]

    async def newest(self, limit: int, *, category: str | None = None, before: int | None = None) -> list[Numbered]:
        """Return available items, of one category or all, the one that came last first."""
        among = "available" if category is None else f"category:{category}"
        highest = "+inf" if before is None else f"({before}"
        return await self._listed(among, highest, "-inf", "REV", limit)

    async def categories(self) -> dict[str, int]:
        """Return how many available items every category has."""
        counts = await self._ask(("HGETALL", f"{self._prefix}categories"))
        return {category.decode(): int(count) for category, count in counts.items()}

    async def scan(self, after: int, limit: int) -> list[Numbered]:
        """Return items, unavailable ones too, in order of their numbers."""
        return await self._listed("numbers", f"({after}", "+inf", "", limit)

    async def rules(self) -> dict[str, bytes]:
        """Return all stored rules by name."""
        rules = await self._ask(("HGETALL", f"{self._prefix}rules"))
        return {name.decode(): rule for name, rule in rules.items()}

    async def put_rule(self, name: str, rule: bytes | None) -> None:
        """Store a rule under a name, or remove it; visible on return. Safe to repeat."""
        key = f"{self._prefix}rules"
        await self._ask(("HDEL", key, name) if rule is None else ("HSET", key, name, rule))

    async def serving_state(self) -> ServingState | None:
        """Return what the trainer published last, or ``None`` before the first time."""
        held = await self._ask(("HGET", f"{self._prefix}serving", "state"))
        return _decode_state(held[_VERSION_DIGITS:]) if held else None

    async def put_many(self, items: Sequence[Item]) -> None:
        """Write items through; visible on return. Safe to repeat. The last write of an item wins, whoever writes."""
        await self._ask(*_put_items(self._prefix, items))

    async def close(self) -> None:
        """Close the connections. Safe to repeat."""
        await self._client.aclose()

    async def _values(self, hash_name: str, names: Sequence[str]) -> list[tuple[str, bytes]]:
        if not names:
            return []
        found = await self._ask(("HMGET", f"{self._prefix}{hash_name}", *names))
        return [(name, value) for name, value in zip(names, found, strict=True) if value is not None]

    async def _listed(self, among: str, start: str, stop: str, order: str, limit: int) -> list[Numbered]:
        listed = await self._ask(_script(LIST_ITEMS, self._prefix, among, start, stop, order, limit))
        return [
            Numbered(int(number), _decode_item(record))
            for number, record in zip(listed[::2], listed[1::2], strict=True)
        ]

    async def _ask(self, *commands: Command) -> Any:
        """Send commands, each after the answer to the one before, all within the deadline; return the last answer."""
        answer = None
        try:
            async with asyncio.timeout(self._timeout_s):
                for command in commands:
                    answer = await self._client.execute_command(*command)
        except TimeoutError as error:
            raise StoreUnavailable(f"redis did not answer within {self._timeout_s} s") from error
        except redis.RedisError as error:
            raise _translated(error) from error
        return answer


class RedisItemWriter:
    """Items as the trainer writes them. Connects when first asked."""

    def __init__(self, url: str, *, prefix: str, timeout_s: float) -> None:
        self._prefix, self._timeout_s = f"{prefix}:", timeout_s
        self._wrote = False
        self._client = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **_options(timeout_s))

    @classmethod
    def from_url(cls, url: str, timeout_s: float) -> RedisItemWriter:
        """Take what ``RedisItemReader.from_url`` takes."""
        server, prefix = _server_and_prefix(url)
        return cls(server, prefix=prefix, timeout_s=timeout_s)

    def put_many(self, items: Sequence[Item]) -> None:
        """Write items. Safe to repeat. The last write of an item wins, whoever writes."""
        self._ask(_put_items(self._prefix, items))

    def delete(self, item_ids: Sequence[str]) -> None:
        """Remove items, the edges from them and their recent users. Safe to repeat.

        Edges to them, and their places in popular lists, go when the trainer writes those next.
        """
        self._ask(_delete_items(self._prefix, item_ids))

    def put_popular(self, lists: Mapping[str, Sequence[tuple[str, float]]], version: int) -> None:
        """Replace popular lists by name (best first). Safe to repeat. Raises ``StaleEpoch``."""
        self._put("popular", lists, version)

    def put_recent_users(self, users: Mapping[str, Sequence[str]], version: int) -> None:
        """Replace the recent users of each of these items (newest first). Safe to repeat. Raises ``StaleEpoch``."""
        self._put("recent_users", users, version)

    def put_neighbours(self, edges: Mapping[str, Sequence[tuple[str, float]]], version: int) -> None:
        """Replace all edges of each of these items. Safe to repeat. Raises ``StaleEpoch``."""
        self._put("neighbours", edges, version)

    def put_serving_state(self, state: ServingState) -> None:
        """Replace the serving state. Safe to repeat. Raises ``StaleEpoch``."""
        self._put("serving", {"state": state}, state.version)

    def close(self) -> None:
        """Close the connections. Safe to repeat."""
        self._client.close()

    def _put(self, hash_name: str, values: Mapping[str, Any], version: int) -> None:
        digits = (f"{epoch_of(version):0{_VERSION_DIGITS}d}", f"{version:0{_VERSION_DIGITS}d}")
        pairs = iter(values.items())
        # Without values too: a stale epoch is refused, a new one remembered.
        chunk = list(islice(pairs, _VALUES_AT_ONCE))
        commands: list[Command] = []
        while chunk or not commands:
            flat = [part for name, value in chunk for part in (name, _encode(value))]
            commands.append(_script(PUT_VERSIONED, self._prefix, *digits, hash_name, *flat))
            chunk = list(islice(pairs, _VALUES_AT_ONCE))
        for seen in self._ask(commands):
            if seen == 0 and self._wrote:
                # Somebody else's epoch would be newer; none at all is a Redis that was emptied.
                _log.error("redis has lost what it held; only the trainer started with --republish fills it again")
            elif seen:
                raise StaleEpoch(f"epoch {epoch_of(version)} is older than {int(seen)}, which this store has seen")
            self._wrote = True

    def _ask(self, commands: Iterable[Command]) -> list[Any]:
        """Send commands, each after the answer to the one before, all within the deadline; return the answers."""
        give_up_s = time.monotonic() + self._timeout_s
        answers: list[Any] = []
        try:
            for command in commands:
                if answers and time.monotonic() > give_up_s:
                    raise StoreUnavailable(f"redis took more than {self._timeout_s} s")
                answers.append(self._client.execute_command(*command))
        except redis.RedisError as error:
            raise _translated(error) from error
        return answers


def _options(timeout_s: float) -> dict[str, Any]:
    # The driver's own time-outs and repetitions let a silent server hold a call for a minute.
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "max_connections": MAX_CONNECTIONS,
        "protocol": 2,
    }


def _server_and_prefix(url: str) -> tuple[str, str]:
    """Take our own ``prefix`` out of a URL; the rest is the driver's. Raises ``ValueError``."""
    server, _, query = url.partition("?")
    options = dict(parse_qsl(query, strict_parsing=bool(query)))
    if ours := sorted(_options(0.0).keys() & options.keys()):
        raise ValueError(f"{', '.join(ours)}: not for the URL to say, time-outs are settings")
    prefix = options.pop("prefix", DEFAULT_PREFIX)
    return (f"{server}?{urlencode(options)}" if options else server), prefix


def _script(script: str, prefix: str, *arguments: Any) -> Command:
    return ("EVAL", script, 1, prefix, *arguments)


def _put_items(prefix: str, items: Sequence[Item]) -> Iterator[Command]:
    for start in range(0, len(items), _ITEMS_AT_ONCE):
        yield _script(PUT_ITEMS, prefix, *map(_packed, items[start : start + _ITEMS_AT_ONCE]))


def _packed(item: Item) -> bytes:
    record = encode_item(item).decode()
    if not item.available:
        return _pack((item.item_id, record, False, False, "", {}))
    title, text, weights = weighted_words(item)
    words = f"{''.join(f' {word}' for word in title)}\n{''.join(f' {word}' for word in text)}"
    category = False if item.category is None else item.category
    return _pack((item.item_id, record, True, category, words, weights))


def _delete_items(prefix: str, item_ids: Sequence[str]) -> Iterator[Command]:
    for start in range(0, len(item_ids), _ITEMS_AT_ONCE):
        yield _script(DELETE_ITEMS, prefix, *item_ids[start : start + _ITEMS_AT_ONCE])


def _translated(error: redis.RedisError) -> Exception:
    if isinstance(error, _AWAY) or str(error).startswith(_UNABLE):
        return StoreUnavailable(f"redis: {error}")
    return error
