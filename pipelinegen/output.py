"""Writing what `generate` made into one folder; `pipeline.yml` comes behind all that it needs."""

from __future__ import annotations

import json
from pathlib import Path

from pipelinegen.files import remove, write_atomic
from pipelinegen.generate import Generated
from pipelinegen.memo.travel import ARTIFACT
from pipelinegen.pipeline.conductor import is_part_file
from pipelinegen.readings import inspected
from pipelinegen.report.metrics import plan_metrics
from pipelinegen.report.text import plan_text
from pipelinegen.run.handoff import write_handoff

METRICS_NAME = "metrics.txt"
"""Name of the plan's metrics in the folder, for `artifacts:reports:metrics` of the job that plans."""


def write_output(folder: Path, generated: Generated) -> None:
    """Write `derivations.export.gz`, `work.json`, `plan.json`, its report and metrics, and `pipeline.yml` with parts.

    Each file appears whole or not at all. Parts that an earlier, larger pipeline left are removed.

    Raises:
        ToolError: the folder cannot be written to, or the derivations cannot be exported.
    """
    planned = generated.planned
    built = sorted({build.drv_path for unit in planned.work.units for build in unit.builds})
    write_handoff(folder, planned.work, built)
    plan = json.dumps(planned.plan.model_dump(mode="json"), indent=2, ensure_ascii=False)
    write_atomic(folder / "plan.json", plan + "\n")
    write_atomic(folder / "report.txt", plan_text(planned.plan, lambda text, _: text, everything=True))
    known = generated.recorded
    seconds = (known.to_build, known.to_build + known.spared) if known else None
    write_atomic(
        folder / METRICS_NAME, plan_metrics(planned.plan, planned.work, seconds, inspected(generated.inspection))
    )
    if generated.memo is None:
        remove(folder / ARTIFACT)
    else:
        write_atomic(folder / ARTIFACT, generated.memo)
    for file in reversed(generated.pipelines.files):
        write_atomic(folder / file.name, file.text)
    names = {file.name for file in generated.pipelines.files}
    for left in folder.glob("pipeline-*.yml"):
        if is_part_file(left.name) and left.name not in names:
            remove(left)
