"""Where measurements are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Places:
    """Folders of the results (a JSON file for each part) and of the page."""

    results: Path
    page: Path

    @classmethod
    def of(cls, folder: Path | None) -> Places:
        """Below a folder, which is made; by default those of this repository."""
        if folder is None:
            return cls(ROOT / "benchmarks" / "results", ROOT / "docs" / "concepts")
        (folder / "results").mkdir(parents=True, exist_ok=True)
        return cls(folder / "results", folder)


def save(places: Places, part: str, machine: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
    """Write one part; lists of records have a record per line, so that changes can be read."""
    text = json.dumps({"machine": machine, "measured": measured}, ensure_ascii=False, default=tuple)
    places.results.mkdir(parents=True, exist_ok=True)
    (places.results / f"{part}.json").write_text(text.replace("}, {", "},\n{") + "\n", "utf-8")


def load(places: Places) -> dict[str, Any]:
    """Part → what `save` wrote, of all that there are."""
    return {file.stem: json.loads(file.read_text("utf-8")) for file in sorted(places.results.glob("*.json"))}
