"""How long builds took: what one job leaves behind, and `run record`, which adds it to the history.

Times are hints. Whatever is wrong with them is a warning, never a failure.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from pipelinegen import history_files
from pipelinegen.console import Console
from pipelinegen.errors import ToolError
from pipelinegen.files import write_atomic
from pipelinegen.history import BuildTime, Times, merge
from pipelinegen.run.build_log import BuildLog
from pipelinegen.run.metrics import of_builds
from pipelinegen.run.result import Reports


def leave(reports: Reports | None, log: BuildLog, system: str, console: Console) -> None:
    """Write what was built so far to `reports.times`, where that is asked for; failed builds are left out.

    Args:
        log: what Nix said; also in the middle, when the job is being ended.
        system: where it was built.
    """
    if reports is None or reports.times is None:
        return
    builds = []
    for drv_path, build in log.builds.items():
        if build.worked is not None:
            builds += _build_time(drv_path, system, build.worked)
    try:
        history_files.write_times(reports.times, Times(builds=tuple(builds), fetched=len(log.fetched)))
    except ToolError as error:
        console.warn(f"the build times are not recorded: {error.message}: {error.why}")


def _build_time(drv_path: str, system: str, seconds: float) -> list[BuildTime]:
    name = drv_path.rpartition("/")[2].partition("-")[2].removesuffix(".drv")
    try:
        return [BuildTime(name=name, system=system, seconds=round(seconds, 3))]
    except ValidationError:
        return []  # a builder can claim anything, and a clock can be set back


def run_record(folder: Path, file: Path, *, console: Console, metrics: Path | None = None) -> None:
    """Add what the jobs of a pipeline left in `folder` to the history in `file`, and write its `metrics`.

    Missing files count as empty, unusable ones too, with a warning; so does a history that cannot be written.
    """
    left: list[Times] = []
    for one in sorted(folder.glob("*.json")):
        times, trouble = history_files.read_times(one)
        left.append(times)
        if trouble:
            console.warn(trouble)
    builds = [build for times in left for build in times.builds]
    if metrics is not None:
        try:
            write_atomic(metrics, of_builds(left))
        except ToolError as error:
            console.warn(f"the metrics of the builds are not written: {error.message}: {error.why}")
    history, trouble = history_files.read_history(file)
    if trouble:
        console.warn(trouble)
    history = merge(history, builds)
    try:
        history_files.write_history(file, history)
    except ToolError as error:
        console.warn(f"the build times are not recorded: {error.message}: {error.why}")
        return
    console.say(f"recorded {len(builds)} build times of {len(left)} jobs; times of {history.size} packages are known")
