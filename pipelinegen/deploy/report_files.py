"""The files in which a deployment's report is left."""

from __future__ import annotations

from pathlib import Path

from pipelinegen import files
from pipelinegen.deploy.report import DeployReport
from pipelinegen.deploy.report_junit import to_junit
from pipelinegen.deploy.report_markdown import to_markdown
from pipelinegen.deploy.report_metrics import to_metrics
from pipelinegen.errors import ToolError
from pipelinegen.values import Value


class ReportFiles(Value):
    """Where a deployment's report goes when it ends, also when it ends badly; null means nowhere."""

    json_file: Path | None = None
    markdown: Path | None = None
    junit: Path | None = None
    metrics: Path | None = None

    def clear(self) -> None:
        """Remove what lies there.

        Raises:
            ToolError: a file cannot be removed.
        """
        for path in (self.json_file, self.markdown, self.junit, self.metrics):
            if path is not None:
                files.remove(path)

    def write(self, report: DeployReport) -> None:
        """Write what is asked for, each file in one step, also where another one cannot be written.

        Raises:
            ToolError: a file cannot be written; of several, the first.
        """
        problems: list[ToolError] = []
        for path, view in (
            (self.json_file, _json),
            (self.markdown, to_markdown),
            (self.junit, to_junit),
            (self.metrics, to_metrics),
        ):
            if path is None:
                continue
            try:
                files.write_atomic(path, view(report))
            except ToolError as error:
                problems.append(error)
        if problems:
            raise problems[0]


def _json(report: DeployReport) -> str:
    return report.model_dump_json(indent=2) + "\n"


NO_FILES = ReportFiles()
"""The report is only shown."""
