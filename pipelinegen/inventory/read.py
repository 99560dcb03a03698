"""Flake → inventory."""

from __future__ import annotations

from collections.abc import Callable

from pipelinegen.config import Config
from pipelinegen.inventory.model import FlakeSource, Inventory
from pipelinegen.inventory.pool import OnProgress
from pipelinegen.inventory.source import read_source, source_at
from pipelinegen.inventory.survey import survey

__all__ = ["read_inventory", "read_source", "source_at"]


def read_inventory(
    source: FlakeSource,
    config: Config,
    *,
    on_progress: OnProgress | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> Inventory:
    """Evaluate a flake's outputs; see `survey`."""
    return survey(source, config, on_progress=on_progress, on_warning=on_warning).inventory
