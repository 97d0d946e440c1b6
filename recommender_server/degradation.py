"""What keeps one slow or broken dependency from making every answer slow or broken: time budgets, circuit breakers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

from stores.ports import Clock, Metrics, StoreUnavailable

BreakerState = Literal["closed", "open", "half_open"]
Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)


class DependencyUnavailable(StoreUnavailable):
    """A dependency did not answer, or not in time. ``dependency`` names it."""

    def __init__(self, dependency: str, message: str) -> None:
        super().__init__(f"{dependency}: {message}")
        self.dependency = dependency


class Deadline:
    """The moment by which a request is answered; what it asks of others must end before."""

    def __init__(self, clock: Clock, budget_s: float) -> None:
        self._clock = clock
        self._end_s = clock.monotonic_s() + budget_s

    def remaining_s(self) -> float:
        """Return the time left, never below 0."""
        return max(0.0, self._end_s - self._clock.monotonic_s())


NewDeadline = Callable[[], Deadline]


class CircuitBreaker:
    """Closed: calls pass. After ``failures_to_open`` failures in a row it opens: nothing passes for ``open_s``. Then
    half open: one call tries; its success closes the breaker, its failure opens it again.
    """

    def __init__(self, clock: Clock, failures_to_open: int, open_s: float) -> None:
        self._clock = clock
        self._failures_to_open = failures_to_open
        self._open_s = open_s
        self._failures = 0
        self._open_until_s: float | None = None
        self._trying = False

    @property
    def state(self) -> BreakerState:
        """How it stands now."""
        if self._open_until_s is None:
            return "closed"
        return "open" if self._clock.monotonic_s() < self._open_until_s else "half_open"

    def admit(self) -> bool:
        """Say whether a call may pass; each admitted call must report how it ended."""
        if self._open_until_s is None:
            return True
        if self._trying or self.state == "open":
            return False
        self._trying = True
        return True

    def succeeded(self) -> None:
        """The call was answered in time."""
        self._failures, self._open_until_s, self._trying = 0, None, False

    def failed(self) -> None:
        """The call failed or took too long."""
        self._failures += 1
        self._trying = False
        if self._open_until_s is not None or self._failures >= self._failures_to_open:
            self._open_until_s = self._clock.monotonic_s() + self._open_s

    def abandoned(self) -> None:
        """The call was called off from outside and proves nothing; another may try."""
        self._trying = False


class Guard:
    """A time budget, ``budget_s``, and a circuit breaker in front of one dependency. ``name`` labels its metrics."""

    def __init__(self, name: str, breaker: CircuitBreaker, budget_s: float, clock: Clock, metrics: Metrics) -> None:
        self.name = name
        self.breaker = breaker
        self.budget_s = budget_s
        self._clock = clock
        self._metrics = metrics

    async def call(self, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """Run one call of the dependency within the budget. Raises ``DependencyUnavailable``, at once when open.

        Any exception of the dependency counts as its failure: serving goes on without it, and the log says why.
        """
        if not self.breaker.admit():
            raise DependencyUnavailable(self.name, "left alone after repeated failures")
        started_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(self.budget_s):
                answer = await work()
        except Exception as error:
            self._failed(error)
            raise DependencyUnavailable(self.name, str(error) or type(error).__name__) from error
        except BaseException:
            self.breaker.abandoned()
            raise
        self.breaker.succeeded()
        self._metrics.timing("dependency_seconds", self._clock.monotonic_s() - started_s, dependency=self.name)
        return answer

    def _failed(self, error: Exception) -> None:
        before = self.breaker.state
        self.breaker.failed()
        self._metrics.count("dependency_failures", dependency=self.name)
        if not isinstance(error, StoreUnavailable | TimeoutError):
            _log.error("%s failed in an unforeseen way", self.name, exc_info=error)
        if before != "open" and self.breaker.state == "open":
            _log.warning("%s does not answer (%s); leaving it alone for a while", self.name, error or "too slow")
