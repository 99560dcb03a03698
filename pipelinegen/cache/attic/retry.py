"""When to try again, and how many at once. Pure: chance and clock are the caller's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Exponential, with jitter, so that many jobs do not come back at the same moment.

    Attributes:
        base: seconds before the second attempt.
        cap: seconds at most.
    """

    base: float = 0.5
    cap: float = 30.0

    def delay(self, failures: int, chance: float, retry_after: float | None = None) -> float:
        """Seconds to wait after the `failures`-th failure in a row (from 1).

        Args:
            chance: from 0 to 1.
            retry_after: seconds that the server asks for; it is not shortened.
        """
        exponential = min(self.cap, self.base * 2.0 ** min(failures - 1, 30))
        return max(exponential * (0.5 + 0.5 * chance), retry_after or 0.0)


class Parallelism:
    """How many uploads run at once: half as many after each trouble, one more after two rounds of successes.

    One failure in twenty, as a network has them, leaves nearly all; a server that has too much to do gets less.

    Args:
        most: never more than this.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.allowed = most
        self._in_a_row = 0

    def succeeded(self) -> None:
        """An upload arrived."""
        self._in_a_row += 1
        if self._in_a_row >= 2 * self.allowed:
            self.allowed = min(self.most, self.allowed + 1)
            self._in_a_row = 0

    def troubled(self) -> None:
        """The server or the way to it has trouble."""
        self.allowed = max(1, self.allowed // 2)
        self._in_a_row = 0
