"""The files in which a deployment's report is left."""

from __future__ import annotations

from pathlib import Path

from pipelinegen import files
from pipelinegen.deploy.report import DeployReport
from pipelinegen.deploy.report_junit import to_junit
from pipelinegen.deploy.report_markdown import to_markdown
from pipelinegen.deploy.report_metrics import to_metrics
from pipelinegen.values import Value


class ReportFiles(Value):
    """Where a deployment's report goes when it ends, also when it ends badly; null means nowhere."""

    json_file: Path | None = None
    markdown: Path | None = None
    junit: Path | None = None
    metrics: Path | None = None

    def write(self, report: DeployReport) -> None:
        """Write what is asked for, each file in one step.

        Raises:
            ToolError: a file cannot be written.
        """
        if self.json_file is not None:
            files.write_atomic(self.json_file, report.model_dump_json(indent=2) + "\n")
        if self.markdown is not None:
            files.write_atomic(self.markdown, to_markdown(report))
        if self.junit is not None:
            files.write_atomic(self.junit, to_junit(report))
        if self.metrics is not None:
            files.write_atomic(self.metrics, to_metrics(report))


NO_FILES = ReportFiles()
"""The report is only shown."""
