"""Writing what `generate` made into one folder; `pipeline.yml` comes last, so it never stands alone."""

from __future__ import annotations

import json
from pathlib import Path

from pipelinegen.files import write_atomic
from pipelinegen.generate import Generated
from pipelinegen.report.text import plan_text
from pipelinegen.run.handoff import write_handoff


def write_output(folder: Path, generated: Generated) -> None:
    """Write `derivations.export.gz`, `work.json`, `plan.json`, `report.txt` and `pipeline.yml`.

    Each file appears whole or not at all.

    Raises:
        ToolError: the folder cannot be written to, or the derivations cannot be exported.
    """
    planned = generated.planned
    built = sorted({build.drv_path for unit in planned.work.units for build in unit.builds})
    write_handoff(folder, planned.work, built)
    plan = json.dumps(planned.plan.model_dump(mode="json"), indent=2, ensure_ascii=False)
    write_atomic(folder / "plan.json", plan + "\n")
    write_atomic(folder / "report.txt", plan_text(planned.plan, lambda text, _: text, everything=True))
    write_atomic(folder / "pipeline.yml", generated.yaml)
