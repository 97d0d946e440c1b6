"""Which items pass a filter, by reading the catalogue: for filters that so few pass that the best of all hold too few.

Reading a hundred thousand records takes some tenths of a second, so what was found is kept for a while. Whoever uses it
looks at the records of now: an item that changed is judged as it is, and one that came since is read within a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from recommender_server.degradation import Deadline, DependencyUnavailable
from recommender_server.dependencies import Dependencies
from recommender_server.filter_expression import Filter
from recommender_server.last_known import LastKnown
from stores.ports import Clock, ItemReader, Numbered, StoreUnavailable

# More than a user can have seen (10,000) and a list can hold: where more pass, the newest so many are enough.
MOST_PASSING = 20_000
# Records in one read, so that others get their turn in between.
READ_AT_ONCE = 500
# What came since is read so often.
ADDED_S = 1.0
# Everything is read anew, since a record that was changed may pass now, as often as this share of the time allows.
MOST_SHARE = 0.01
# One reading of the catalogue may take so long; requests wait within their own deadlines.
LONGEST_S = 10.0
MOST_FILTERS = 32
# The share of what is left of a request's time that it waits for a reading.
WAITING_SHARE = 0.6


@dataclass
class _Found:
    """Items that passed a filter, of all with numbers up to ``highest``; when all were read, and how long it took."""

    items: dict[str, None] = field(default_factory=dict)
    highest: int = 0
    read_at_s: float = -float("inf")
    took_s: float = 0.0


class PassingItems:
    """What passes the filters that were asked for of late, one reading of the catalogue at a time."""

    def __init__(self, dependencies: Dependencies, clock: Clock) -> None:
        self._dependencies = dependencies
        self._clock = clock
        self._known: dict[str, LastKnown[dict[str, None]]] = {}
        self._reading = asyncio.Lock()

    async def of(self, wanted: Filter, deadline: Deadline) -> list[str]:
        """Return the items that pass, at most about ``MOST_PASSING``. Raises ``DependencyUnavailable``: not in time.

        A reading goes on when its request has given up, so asking again gets there.
        """
        known = self._known.pop(wanted.text, None)
        if known is None:
            found = _Found()
            known = LastKnown(lambda: self._read(wanted, found), ADDED_S, self._clock)
        self._known[wanted.text] = known
        if len(self._known) > MOST_FILTERS:
            del self._known[next(iter(self._known))]
        try:
            return list((await known.get(WAITING_SHARE * deadline.remaining_s())).value)
        except StoreUnavailable as error:
            raise DependencyUnavailable("items", str(error)) from error

    async def _read(self, wanted: Filter, found: _Found) -> dict[str, None]:
        deadline = Deadline(self._clock, LONGEST_S)
        try:
            async with asyncio.timeout(LONGEST_S), self._reading:
                started_s = self._clock.monotonic_s()
                if MOST_SHARE * (started_s - found.read_at_s) < found.took_s:
                    await self._add(wanted, found, deadline)
                else:
                    anew = _Found(read_at_s=started_s)
                    await self._read_all(wanted, anew, deadline)
                    found.items, found.highest, found.read_at_s = anew.items, anew.highest, started_s
                    found.took_s = self._clock.monotonic_s() - started_s
        except (DependencyUnavailable, TimeoutError) as error:
            raise StoreUnavailable(f"what passes the filter was not read: {error}") from error
        return found.items

    async def _add(self, wanted: Filter, found: _Found, deadline: Deadline) -> None:
        """Add what came since."""
        while page := await self._ask(lambda items: items.scan(found.highest, READ_AT_ONCE), deadline):
            _keep(page, wanted, found)

    async def _read_all(self, wanted: Filter, found: _Found, deadline: Deadline) -> None:
        """Read the newest first, of the only categories that can pass where there are such."""
        categories: Sequence[str | None] = [None] if wanted.categories is None else sorted(wanted.categories)
        newest = await self._ask(lambda items: items.newest(1), deadline)
        found.highest = newest[0].number if newest else 0
        for category in categories:
            page = await self._page(category, None, deadline)
            while page and len(found.items) < MOST_PASSING:
                _keep(page, wanted, found)
                page = await self._page(category, page[-1].number, deadline)

    async def _page(self, category: str | None, before: int | None, deadline: Deadline) -> list[Numbered]:
        return await self._ask(lambda items: items.newest(READ_AT_ONCE, category=category, before=before), deadline)

    async def _ask(self, ask: Callable[[ItemReader], Awaitable[list[Numbered]]], deadline: Deadline) -> list[Numbered]:
        await asyncio.sleep(0)  # a store that is a file answers at once: others would wait for the whole reading
        return await self._dependencies.of_items(ask, deadline)


def _keep(page: list[Numbered], wanted: Filter, found: _Found) -> None:
    found.items.update((item.item_id, None) for _, item in page if item.available and wanted.accepts(item))
    found.highest = max(found.highest, *(number for number, _ in page))
