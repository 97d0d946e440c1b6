"""The stores and the index as requests use them: guarded, coalesced, within the deadline of the request."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from models import ranking
from models.items import Item
from recommender_server.coalescing import Coalescer
from recommender_server.degradation import CircuitBreaker, Deadline, DependencyUnavailable, Guard
from recommender_server.item_graph import ItemGraph, Neighbourhood
from recommender_server.last_known import Known, LastKnown
from recommender_server.settings import RecommenderSettings
from recommender_server.user_view import UserView, fold
from stores.ports import (
    AsyncEventLog,
    Candidates,
    Clock,
    Edges,
    Entry,
    IndexStatus,
    ItemIndexReader,
    ItemReader,
    Metrics,
    PendingEvent,
    Query,
    Receipt,
    ServingState,
    StoreUnavailable,
    UserReader,
    Vectors,
)

# The trainer publishes its state about once a second and popular lists likewise.
SERVING_STATE_MAX_AGE_S = 0.2
POPULAR_MAX_AGE_S = 1.0
RULES_MAX_AGE_S = 1.0
POPULAR_LIMIT = 1000

Answer = TypeVar("Answer")
Pending = Mapping[str, Sequence[PendingEvent]]


@dataclass(frozen=True)
class Collaborators:
    """What the recommender is built from; it closes them when it stops."""

    log: AsyncEventLog
    users: UserReader
    items: ItemReader
    index: ItemIndexReader
    metrics: Metrics
    clock: Clock


class Dependencies:
    """Every call to the outside world. Each raises ``DependencyUnavailable``, within its budget, when nobody answers.

    Calls of one event-loop tick share one round trip: one read of users, one of items, one search, and so on.
    """

    def __init__(self, collaborators: Collaborators, settings: RecommenderSettings) -> None:
        self._outside = collaborators

        def guard(name: str, budget_ms: float) -> Guard:
            breaker = CircuitBreaker(collaborators.clock, settings.breaker_failures, settings.breaker_open_ms / 1000)
            return Guard(name, breaker, budget_ms / 1000, collaborators.clock, collaborators.metrics)

        # Writes have guards of their own: a bulk of items that takes long must not stop the reading of items.
        self._users = guard("users", settings.user_budget_ms)
        self._pending = guard("pending", settings.log_budget_ms)
        self._items = guard("items", settings.item_budget_ms)
        self._item_writes = guard("item_writes", settings.log_budget_ms)
        self._index = guard("index", settings.index_budget_ms)
        self._log = guard("log", settings.log_budget_ms)
        self.guards = [self._users, self._pending, self._items, self._item_writes, self._index, self._log]

        self._user_reads = Coalescer(self._read_users)
        self._pending_writes = Coalescer(self._write_pending)
        self._item_reads = Coalescer(self._read_items)
        self._graph = ItemGraph()
        self._edge_reads = Coalescer(self._read_edges)
        # While the index works on one call, the next one is made ready.
        self._searches = Coalescer(self._search, max_batch=64, max_calls=2)
        self._similar = Coalescer(self._read_similar)
        # 2,000 candidates are the longest list: together they stay below what the index takes at once.
        self._vectors = Coalescer(self._read_vectors, max_batch=5)
        self._serving_state = LastKnown(self._read_serving_state, SERVING_STATE_MAX_AGE_S, collaborators.clock)
        self._rules = LastKnown(self._read_rules, RULES_MAX_AGE_S, collaborators.clock)
        self._popular: dict[str, LastKnown[list[tuple[str, float]]]] = {}
        self._listed: dict[str, LastKnown[frozenset[str]]] = {}

    # --- looking things up: one call as it is asked, shared with nobody -----------------------------------------------

    async def of_items(self, ask: Callable[[ItemReader], Awaitable[Answer]], deadline: Deadline) -> Answer:
        """Ask the item store."""
        return await _within(deadline, self._items, self._items.call(lambda: ask(self._outside.items)))

    async def of_users(self, ask: Callable[[UserReader], Awaitable[Answer]], deadline: Deadline) -> Answer:
        """Ask the user store."""
        return await _within(deadline, self._users, self._users.call(lambda: ask(self._outside.users)))

    async def of_log(self, ask: Callable[[AsyncEventLog], Awaitable[Answer]], deadline: Deadline) -> Answer:
        """Ask the event log."""
        return await _within(deadline, self._log, self._log.call(lambda: ask(self._outside.log)))

    # --- users --------------------------------------------------------------------------------------------------

    async def user(self, user_id: str, deadline: Deadline) -> UserView:
        """Return the user as of now; one nobody has heard of is a view of nothing."""
        return await _within(deadline, self._users, self._user_reads.ask(user_id))

    async def add_pending(self, pending: Pending, deadline: Deadline) -> None:
        """Keep accepted events until the trainer has learned them."""
        await _within(deadline, self._pending, self._pending_writes.ask(pending))

    async def forget_pending(self, learned: Mapping[int, int]) -> None:
        """Drop the events that the trainer has learned."""
        await self._pending.call(lambda: self._outside.users.forget_pending(learned))

    async def _read_users(self, user_ids: list[str]) -> list[UserView]:
        states = await self._users.call(lambda: self._outside.users.get_many(list(dict.fromkeys(user_ids))))
        return [fold(states[user_id]) for user_id in user_ids]

    async def _write_pending(self, writes: list[Pending]) -> list[None]:
        together: dict[str, list[PendingEvent]] = {}
        for pending in writes:
            for user_id, events in pending.items():
                together.setdefault(user_id, []).extend(events)
        await self._pending.call(lambda: self._outside.users.add_pending(together))
        return [None] * len(writes)

    # --- items --------------------------------------------------------------------------------------------------

    async def items(self, item_ids: Sequence[str], deadline: Deadline) -> Mapping[str, Item]:
        """Return the known ones among these items, and whatever others were read with them."""
        return await _within(deadline, self._items, self._item_reads.ask(item_ids)) if item_ids else {}

    async def neighbourhood(self, recent: Sequence[str], deadline: Deadline) -> Neighbourhood:
        """Return where these items, newest first, lead."""
        edges = await _within(deadline, self._items, self._edge_reads.ask(recent)) if recent else {}
        return self._graph.around(recent, edges)

    async def put_items(self, items: Sequence[Item]) -> None:
        """Write items through to the store that answers are made from."""
        await self._item_writes.call(lambda: self._outside.items.put_many(items))

    async def rules(self, deadline: Deadline, max_age_s: float | None = None) -> dict[str, bytes]:
        """Return the stored rules by name, at most a second old; the last known ones when the store is down."""
        try:
            return (await self._rules.get(deadline.remaining_s(), max_age_s)).value
        except StoreUnavailable as error:
            raise DependencyUnavailable("items", str(error)) from error

    async def put_rule(self, name: str, rule: bytes | None) -> None:
        """Store a rule, or remove it (``None``). Safe to repeat."""
        await self._item_writes.call(lambda: self._outside.items.put_rule(name, rule))

    async def popular(self, name: str, deadline: Deadline) -> Known[list[tuple[str, float]]]:
        """Return a popular list, at most a second old; the last known one, unconfirmed, when the store is down."""
        if name not in self._popular:
            self._popular[name] = LastKnown(
                lambda: self._read_popular(name),
                POPULAR_MAX_AGE_S,
                self._outside.clock,
            )
        try:
            return await self._popular[name].get(deadline.remaining_s())
        except StoreUnavailable as error:
            raise DependencyUnavailable("items", str(error)) from error

    async def listed(self, name: str, deadline: Deadline) -> frozenset[str]:
        """Return what stands in a popular list, at most a second old; nothing when there is none, or nobody can say."""
        if name not in self._listed:
            self._listed[name] = LastKnown(lambda: self._read_listed(name), POPULAR_MAX_AGE_S, self._outside.clock)
        try:
            return (await self._listed[name].get(deadline.remaining_s())).value
        except StoreUnavailable:
            return frozenset()

    async def serving_state(self, deadline: Deadline, max_age_s: float | None = None) -> ServingState:
        """Return what the trainer published last; raises ``DependencyUnavailable`` when it never has."""
        try:
            return (await self._serving_state.get(deadline.remaining_s(), max_age_s)).value
        except StoreUnavailable as error:
            raise DependencyUnavailable("trainer", str(error)) from error

    async def _read_items(self, wanted: list[Sequence[str]]) -> list[dict[str, Item]]:
        return [await self._items.call(lambda: self._outside.items.get_many(_union(wanted)))] * len(wanted)

    async def _read_edges(self, wanted: list[Sequence[str]]) -> list[dict[str, Edges]]:
        return [await self._items.call(lambda: self._outside.items.neighbours(_union(wanted)))] * len(wanted)

    async def _read_popular(self, name: str) -> list[tuple[str, float]]:
        entries = await self._items.call(lambda: self._outside.items.popular(name, POPULAR_LIMIT))
        if not entries:  # a store that was emptied must not empty what is last known too
            raise StoreUnavailable(f"there is no list {name!r} yet")
        return entries

    async def _read_listed(self, name: str) -> frozenset[str]:
        entries = await self._items.call(lambda: self._outside.items.popular(name, POPULAR_LIMIT))
        return frozenset(item_id for item_id, _ in entries)

    async def _read_rules(self) -> dict[str, bytes]:
        return await self._items.call(self._outside.items.rules)

    async def _read_serving_state(self) -> ServingState:
        state = await self._items.call(self._outside.items.serving_state)
        if state is None:
            raise StoreUnavailable("nothing has been published yet")
        if any(len(weights) != len(ranking.FEATURES) for weights in state.merge_weights):
            raise StoreUnavailable("what is published is a trainer's of another version")
        return state

    # --- index --------------------------------------------------------------------------------------------------

    async def search(self, query: Query, deadline: Deadline) -> Candidates:
        """Answer one query."""
        return await _within(deadline, self._index, self._searches.ask(query))

    async def similar(self, item_id: str, k: int, deadline: Deadline) -> list[tuple[str, float]] | None:
        """Return the k items nearest to one, best first; ``None`` when the index does not know it."""
        return await _within(deadline, self._index, self._similar.ask((item_id, k)))

    async def vectors(self, item_ids: Sequence[str], deadline: Deadline) -> dict[str, Vectors]:
        """Return the vectors, at length 1, of the known ones among these items."""
        return await _within(deadline, self._index, self._vectors.ask(item_ids)) if item_ids else {}

    async def index_status(self) -> IndexStatus:
        """Return where the index stands."""
        return await self._index.call(self._outside.index.status)

    async def _search(self, queries: list[Query]) -> list[Candidates]:
        return await self._index.call(lambda: self._outside.index.search(queries))

    async def _read_vectors(self, wanted: list[Sequence[str]]) -> list[dict[str, Vectors]]:
        found = await self._index.call(lambda: self._outside.index.vectors(_union(wanted)))
        return [{item_id: found[item_id] for item_id in item_ids if item_id in found} for item_ids in wanted]

    async def _read_similar(self, wanted: list[tuple[str, int]]) -> list[list[tuple[str, float]] | None]:
        item_ids = list(dict.fromkeys(item_id for item_id, _ in wanted))
        most = max(k for _, k in wanted)
        found = await self._index.call(lambda: self._outside.index.similar(item_ids, most))
        return [found[item_id][:k] if item_id in found else None for item_id, k in wanted]

    # --- log ----------------------------------------------------------------------------------------------------

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Receipt]:
        """Append to the log, durable on return. NOT safe to repeat, not even after ``DependencyUnavailable``."""
        return await self._log.call(lambda: self._outside.log.append(topic, entries))

    async def close(self) -> None:
        """Release the stores, the index and the log."""
        outside = self._outside
        for closing in (outside.log.close, outside.users.close, outside.items.close, outside.index.close):
            await closing()


async def _within(deadline: Deadline, guard: Guard, asking: Awaitable[Answer]) -> Answer:
    # A timer costs as much as a small call. The guard has one for the whole batch, which may have waited for two others
    # (``Coalescer``); one of the request's own is needed only where that might come too late.
    if deadline.remaining_s() > 4 * guard.budget_s:
        return await asking
    try:
        async with asyncio.timeout(deadline.remaining_s()):
            return await asking
    except TimeoutError:
        raise DependencyUnavailable(guard.name, "the deadline of the request has passed") from None


def _union(wanted: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(itertools.chain.from_iterable(wanted)))
