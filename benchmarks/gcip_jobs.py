"""Makes a pipeline of described jobs with gcip: `python gcip_jobs.py JOBS.json PIPELINE.yml`.

Runs in an environment that has gcip and nothing of ours. Prints the seconds of a core that it took after its imports,
and its peak of memory.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from gcip.core.artifacts import Artifacts, ArtifactsReport
from gcip.core.job import Job
from gcip.core.need import Need
from gcip.core.pipeline import Pipeline
from gcip.core.when import WhenStatement


def main(jobs_file: str, yaml_file: str) -> None:
    """Make it as gcip's manual says: jobs need job objects, the pipeline writes itself."""
    described = json.loads(Path(jobs_file).read_text("utf-8"))
    started = time.process_time()
    made: dict[str, Job] = {}
    for one in described:
        needs = [made[name] for name in one["needs"]]
        made[one["name"]] = Job(
            name=one["name"],
            stage=one["stage"],
            script=one["script"],
            tags=one["tags"],
            timeout=one["timeout"],
            needs=[*needs, Need("inspect", pipeline="$PARENT_PIPELINE_ID")],
            artifacts=Artifacts(
                reports={ArtifactsReport.JUNIT: "junit.xml"}, when=WhenStatement.ALWAYS, expire_in="1 week"
            ),
        )
    pipeline = Pipeline()
    pipeline.add_children(*made.values())
    pipeline.write_yaml(yaml_file)
    seconds = time.process_time() - started
    # Not `getrusage`: a process takes over that number from the one that started it.
    status = Path("/proc/self/status").read_text("utf-8")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024
    print(json.dumps({"seconds": round(seconds, 3), "peak_mib": round(peak, 1)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
