"""What speaks against a deployment, collected until all of it is known."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Findings:
    """What the pre-flight found.

    Attributes:
        refusals: why the deployment must not begin.
        warnings: what a person should know.
        notes: what a person may want to know.
        hints: what to do about refusals.
        locked: whether another deployment or switch is going on.
    """

    refusals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    locked: bool = False
    _locks: int = 0

    def refuse(self, why: str, hint: str | None = None) -> None:
        """One more reason not to begin, and what to do about it."""
        self.refusals.append(why)
        if hint is not None and hint not in self.hints:
            self.hints.append(hint)

    def lock(self, why: str) -> None:
        """Somebody else is at it: a reason that passes by itself."""
        self.locked = True
        self._locks += 1
        self.refuse(why)

    @property
    def only_locked(self) -> bool:
        """Whether nothing else speaks against the deployment."""
        return self.locked and self._locks == len(self.refusals)
