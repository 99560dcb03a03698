"""How long derivations take to build, as far as anybody can know beforehand. Pure.

Estimates decide how work is put into jobs, never what is built.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelinegen.history import History
from pipelinegen.inventory.model import Derivation

TRIVIAL_SECONDS = 0.5
"""A derivation with `preferLocalBuild`: writing a file, a few links; Nix would rather not move it."""

DOWNLOAD_SECONDS = 2.0
"""A derivation whose output is named by its content: a download."""


@dataclass(frozen=True)
class Costs:
    """Seconds per derivation: recorded, else by its kind.

    Attributes:
        default_seconds: of a derivation of which nothing is known.
        history: what earlier pipelines recorded.
    """

    default_seconds: float = 30.0
    history: History = field(default_factory=History)

    def seconds(self, derivation: Derivation) -> float:
        """What building `derivation` takes, its inputs being there."""
        recorded = self.recorded(derivation)
        if recorded is not None:
            return recorded
        if derivation.prefer_local:
            return TRIVIAL_SECONDS
        return DOWNLOAD_SECONDS if derivation.fixed_output else self.default_seconds

    def recorded(self, derivation: Derivation) -> float | None:
        """What earlier pipelines recorded of it; null without a record."""
        return self.history.seconds_of(derivation.name, derivation.system)

    def known_to_be_cheap(self, derivation: Derivation) -> bool:
        """Whether its price is known well enough to pay it twice. A download is not: the network is shared."""
        return not derivation.fixed_output and (derivation.prefer_local or self.recorded(derivation) is not None)
