"""GitLab's predefined variables as one typed value: the one reader of `CI_*` and `PIPELINEGEN_*`.

Meaning and traps of each variable: https://docs.gitlab.com/ci/variables/predefined_variables/.
Empty variables count as absent; a commit id of zeros counts as absent.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipelinegen.values import Value

_ZEROS = frozenset("0")


class MergeRequest(Value):
    """The variables of a merge request pipeline."""

    iid: str
    event_type: str | None
    """`detached`, `merged_result` or `merge_train`."""
    diff_base_sha: str | None
    source_branch_sha: str | None
    """Only in merged-results and merge-train pipelines."""
    target_branch_sha: str | None
    """Only in merged-results and merge-train pipelines."""
    target_branch: str | None
    project_url: str | None
    """Of the project that the request is made to."""
    source_project_url: str | None

    @property
    def from_fork(self) -> bool:
        """Whether source and target are different projects; a fork that was deleted is not told."""
        return self.source_project_url != self.project_url


class CiEnv(Value):
    """What GitLab said about this pipeline; `in_ci` is false on a developer's machine."""

    in_ci: bool = False
    gitlab: bool = False
    pipeline_source: str | None = None
    pipeline_id: str | None = None
    parent_pipeline_id: str | None = None
    job_name: str | None = None
    job_url: str | None = None
    environment: str | None = None
    """`CI_ENVIRONMENT_NAME`: of a job with an environment."""
    environment_action: str | None = None
    """`CI_ENVIRONMENT_ACTION`: `start` is a deployment, other actions are none."""
    commit_sha: str | None = None
    before_sha: str | None = None
    branch: str | None = None
    tag: str | None = None
    ref_name: str | None = None
    ref_protected: bool = False
    default_branch: str | None = None
    default_branch_base_sha: str | None = None
    """`CI_COMMIT_DEFAULT_BRANCH_BASE_SHA`, GitLab 19.1 and newer."""
    external_target_sha: str | None = None
    merge_request: MergeRequest | None = None
    project_id: str | None = None
    project_dir: str | None = None
    project_url: str | None = None
    api_url: str | None = None
    server_version: str | None = None
    repository_url_present: bool = False
    base_override: str | None = None
    """`PIPELINEGEN_BASE`."""
    handoff: str | None = None
    """`PIPELINEGEN_HANDOFF`: the folder that `generate` wrote."""
    cache_directory: str | None = None
    """`PIPELINEGEN_CACHE_DIR`: where base evaluations are kept."""
    history: str | None = None
    """`PIPELINEGEN_HISTORY`: the file of recorded build times."""
    allow_older: bool = False
    """`PIPELINEGEN_ALLOW_OLDER`: `1` or `true` lets a job deploy to a host that runs a later commit's system."""
    image: str | None = None
    """`PIPELINEGEN_IMAGE`: the image of the bootstrap jobs. The child does not get the variable itself."""
    metrics_url: str | None = None
    """`PIPELINEGEN_METRICS_URL`: the Pushgateway that is sent what jobs measured."""
    metrics_token: bool = False
    """Whether there is a `PIPELINEGEN_METRICS_TOKEN`: the file with the gateway's token."""

    @property
    def protected(self) -> bool:
        """Whether only trusted people can have written what this pipeline runs.

        A merge request pipeline never counts as protected: its content is what was asked to be merged.
        """
        return self.ref_protected and self.merge_request is None and self.external_target_sha is None

    @property
    def on_default_branch(self) -> bool:
        """Whether this pipeline runs for a push to the default branch (not a tag or merge request)."""
        return (
            self.branch is not None
            and self.branch == self.default_branch
            and self.merge_request is None
            and self.tag is None
        )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> CiEnv:
        """Read `environ`; absent and empty variables are null."""

        def get(name: str) -> str | None:
            return environ.get(name) or None

        def sha(name: str) -> str | None:
            value = get(name)
            return None if value is None or set(value) == _ZEROS else value

        iid = get("CI_MERGE_REQUEST_IID")
        return cls(
            in_ci=get("CI") not in {None, "false", "0"},
            gitlab=get("GITLAB_CI") is not None,
            pipeline_source=get("CI_PIPELINE_SOURCE"),
            pipeline_id=get("CI_PIPELINE_ID"),
            parent_pipeline_id=get("PARENT_PIPELINE_ID"),
            job_name=get("CI_JOB_NAME"),
            job_url=get("CI_JOB_URL"),
            environment=get("CI_ENVIRONMENT_NAME"),
            environment_action=get("CI_ENVIRONMENT_ACTION"),
            commit_sha=sha("CI_COMMIT_SHA"),
            before_sha=sha("CI_COMMIT_BEFORE_SHA"),
            branch=get("CI_COMMIT_BRANCH"),
            tag=get("CI_COMMIT_TAG"),
            ref_name=get("CI_COMMIT_REF_NAME"),
            ref_protected=get("CI_COMMIT_REF_PROTECTED") == "true",
            default_branch=get("CI_DEFAULT_BRANCH"),
            default_branch_base_sha=sha("CI_COMMIT_DEFAULT_BRANCH_BASE_SHA"),
            external_target_sha=sha("CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_SHA"),
            merge_request=MergeRequest(
                iid=iid,
                event_type=get("CI_MERGE_REQUEST_EVENT_TYPE"),
                diff_base_sha=sha("CI_MERGE_REQUEST_DIFF_BASE_SHA"),
                source_branch_sha=sha("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA"),
                target_branch_sha=sha("CI_MERGE_REQUEST_TARGET_BRANCH_SHA"),
                target_branch=get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME"),
                project_url=get("CI_MERGE_REQUEST_PROJECT_URL"),
                source_project_url=get("CI_MERGE_REQUEST_SOURCE_PROJECT_URL"),
            )
            if iid
            else None,
            project_id=get("CI_PROJECT_ID"),
            project_dir=get("CI_PROJECT_DIR"),
            project_url=get("CI_PROJECT_URL"),
            api_url=get("CI_API_V4_URL"),
            server_version=get("CI_SERVER_VERSION"),
            repository_url_present=get("CI_REPOSITORY_URL") is not None,
            base_override=get("PIPELINEGEN_BASE"),
            handoff=get("PIPELINEGEN_HANDOFF"),
            cache_directory=get("PIPELINEGEN_CACHE_DIR"),
            history=get("PIPELINEGEN_HISTORY"),
            allow_older=(get("PIPELINEGEN_ALLOW_OLDER") or "").lower() in {"1", "true"},
            image=get("PIPELINEGEN_IMAGE"),
            metrics_url=get("PIPELINEGEN_METRICS_URL"),
            metrics_token=get("PIPELINEGEN_METRICS_TOKEN") is not None,
        )
