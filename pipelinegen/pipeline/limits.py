"""What GitLab's servers allow, with the source of each number, and since when they know a keyword.

Sources: [limits](https://docs.gitlab.com/administration/cicd/limits/),
[yaml](https://docs.gitlab.com/ci/yaml/), [gitlab.com](https://docs.gitlab.com/user/gitlab_com/).
"""

from __future__ import annotations

import re

from pydantic import Field

from pipelinegen.config import GitLab
from pipelinegen.errors import UsageError
from pipelinegen.values import Value

Version = tuple[int, int]
"""Major and minor number of a GitLab server."""


class Limits(Value):
    """The limits of one server. Those that an administrator or a plan sets are fields with defaults.

    Attributes:
        max_jobs: jobs per pipeline. gitlab.com: 500 Free, 1500 Premium, 2000 Ultimate; off elsewhere.
        max_needs: `needs` per job (limits: 50).
        max_deployments: jobs with an environment per pipeline (limits: 500).
        max_bytes: of the file. The artifact that carries it may have 5 MB (limits), packed and unpacked;
            a tenth is left for the archive.
        max_memory: estimated bytes of the parsed file; limits says 2 MB for one file.
        max_cache: `cache` entries per job (yaml: 4).
        warn_at: the share of a limit from which a warning is due.
    """

    max_jobs: int = Field(default=500, gt=0)
    max_needs: int = Field(default=50, gt=0)
    max_deployments: int = Field(default=500, gt=0)
    max_bytes: int = Field(default=4_500_000, gt=0)
    max_memory: int = Field(default=2_000_000, gt=0)
    max_cache: int = Field(default=4, gt=0)
    warn_at: float = Field(default=0.8, gt=0, le=1)

    @classmethod
    def of(cls, settings: GitLab) -> Limits:
        """Those that the configuration names, the rest by default."""
        return cls(max_jobs=settings.max_jobs, max_needs=settings.max_needs, max_deployments=settings.max_deployments)


MAX_TAGS = 49
"""Runner tags per job; yaml says fewer than 50."""

MAX_PARALLEL = 200
"""Jobs that `parallel` makes of one (yaml)."""

MAX_INCLUDES = 3
"""Files of one trigger job, merged (https://docs.gitlab.com/ci/pipelines/downstream_pipelines/)."""

MAX_FALLBACK_KEYS = 5
"""`cache:fallback_keys` (yaml)."""

MAX_RETRIES = 2
"""`retry:max` (yaml)."""

MAX_TIMEOUT = 30 * 24 * 3600
"""Seconds of a job's `timeout`: one month (https://docs.gitlab.com/ci/pipelines/settings/)."""

MAX_DELAY = 7 * 24 * 3600
"""Seconds of `start_in`: one week (yaml)."""

MAX_STAGE_NAME = 255
MAX_WORKFLOW_NAME = 255
"""Characters (yaml)."""

DOTENV_BYTES = 5 * 1024
DOTENV_VARIABLES = 20
"""Of one `artifacts:reports:dotenv` file (limits)."""

ANNOTATIONS = 20
ANNOTATIONS_BYTES = 80 * 1024
"""Of one `artifacts:reports:annotations` file (limits)."""

MEMORY_PER_BYTE = 2.5
"""Bytes of Ruby objects per byte of YAML.

GitLab measures the parsed file, not its text, so its limit cannot be computed here. Pipelines of other
generators were refused at about 400 KB of text when 1 MB was allowed: hence 2.5, and about 800 KB of text
for the 2 MB of today.
"""


def memory_estimate(yaml_bytes: int) -> int:
    """Bytes that GitLab will count for a file of `yaml_bytes`."""
    return int(yaml_bytes * MEMORY_PER_BYTE)


def room_for_bytes(limits: Limits) -> int:
    """Bytes of a file that neither its artifact nor its memory is too small for."""
    return min(limits.max_bytes, int(limits.max_memory / MEMORY_PER_BYTE))


SINCE: dict[str, Version] = {
    "id_tokens": (15, 7),
    "workflow:name": (15, 8),
    "trigger:forward": (15, 1),
    "image:pull_policy": (15, 4),
    "cache:unprotect": (15, 8),
    "cache:fallback_keys": (16, 0),
    "artifacts:reports:annotations": (16, 3),
    "default:id_tokens": (16, 4),
    "environment on a trigger job": (16, 4),
    "image:docker:user": (16, 8),
    "interruptible on a trigger job": (16, 8),
    "workflow:auto_cancel:on_new_commit": (16, 10),
    "workflow:auto_cancel:on_job_failure": (16, 11),
    "artifacts:access": (16, 11),
    "manual_confirmation": (17, 1),
    "retry:exit_codes": (17, 5),
    "trigger:include:inputs": (17, 11),
    "image:kubernetes:user": (18, 0),
    "trigger:strategy: mirror": (18, 2),
    "manual_confirmation on a stop job": (18, 3),
    "artifacts:access: maintainer": (18, 4),
    "variables in environment:deployment_tier": (18, 5),
    # Not keywords of the model, but what a caller may want to know of a server:
    "needs:parallel:matrix": (16, 3),
    "reports of child pipelines in merge requests": (18, 6),
    "CI_COMMIT_DEFAULT_BRANCH_BASE_SHA": (19, 1),
}
"""Keyword or ability → the first GitLab version that has it without a feature flag (yaml).

A server that does not know a keyword refuses the whole file, not one job."""


def parse_version(text: str) -> Version:
    """The version in `17.5`, `17.5.2` or `18.0.0-ee` (`CI_SERVER_VERSION`).

    Raises:
        UsageError: there is none.
    """
    match = re.match(r"(\d{1,4})\.(\d{1,4})(?![\d])", text)
    if match is None:
        raise UsageError(f"{text!r} is no GitLab version", hint="write it as 17.5")
    return int(match[1]), int(match[2])


def supports(version: str, ability: str) -> bool:
    """Whether a server of `version` has `ability`, a key of `SINCE`."""
    return parse_version(version) >= SINCE[ability]
