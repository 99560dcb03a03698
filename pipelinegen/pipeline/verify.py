"""Is this pipeline sound? Every rule that GitLab or we have for a generated file, before it is written.

GitLab would tell most of this only after the push, one error at a time, or not at all. `CHECKS` is the
list of all rules, in the order in which they are looked at and reported:

* `L…` what GitLab refuses, or takes and then never runs;
* `S…` what would give secrets away;
* `R…` and `D…` what a child pipeline needs to be right in every parent and never to deploy by mistake;
* `W…` what is allowed and yet rarely meant.

Some rules are held elsewhere: L23 (nesting) where text is read, L27 (budgets of report files) by
`verify_server.check_dotenv` and `check_annotations` where such files are written.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from pipelinegen.characters import inert
from pipelinegen.errors import VerificationError
from pipelinegen.pipeline import verify_deploys as deploys
from pipelinegen.pipeline import verify_graph as graph
from pipelinegen.pipeline import verify_secrets as secrets
from pipelinegen.pipeline import verify_server as server
from pipelinegen.pipeline import verify_values as values
from pipelinegen.pipeline import verify_waves as waves
from pipelinegen.pipeline.limits import Limits, parse_version
from pipelinegen.pipeline.model import Pipeline
from pipelinegen.pipeline.secret_names import NO_SECRETS, Secrets
from pipelinegen.pipeline.subject import Check, Subject


class Severity(enum.StrEnum):
    """An error keeps the file from being written; a warning is only said."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """A broken rule.

    Attributes:
        rule: its name in `CHECKS`, such as `L04`.
        job: the job that breaks it, null for the file as a whole.
        message: what is wrong, one sentence about the job.
    """

    rule: str
    severity: Severity
    job: str | None
    message: str

    def __str__(self) -> str:
        where = "" if self.job is None else f"{inert(self.job)}: "
        return f"{self.rule}: {where}{inert(self.message)}"


@dataclass(frozen=True)
class NamedCheck:
    """One entry of `CHECKS`: names starting with W are warnings."""

    name: str
    check: Check

    @property
    def severity(self) -> Severity:
        """How much it matters."""
        return Severity.WARNING if self.name.startswith("W") else Severity.ERROR


CHECKS: tuple[NamedCheck, ...] = (
    NamedCheck("L01", graph.starts_by_itself),
    NamedCheck("L02", graph.stages_exist),
    NamedCheck("L03", graph.targets_exist),
    NamedCheck("L04", graph.no_cycles),
    NamedCheck("L05", graph.no_duplicate_needs),
    NamedCheck("L06", graph.needs_go_back),
    NamedCheck("L07", graph.few_needs),
    NamedCheck("L08", graph.names_are_sound),
    NamedCheck("L09", values.group_names),
    NamedCheck("L10", values.closed_lists),
    NamedCheck("L11", values.durations_parse),
    NamedCheck("L12", values.scripts_exist),
    NamedCheck("L13", values.trigger_jobs),
    NamedCheck("L14", values.retries),
    NamedCheck("L15", values.caches),
    NamedCheck("L16", values.few_tags),
    NamedCheck("L17", values.few_copies),
    NamedCheck("L18", values.rules_alone),
    NamedCheck("L19", values.delays),
    NamedCheck("L20", deploys.few_deployments),
    NamedCheck("L21", server.few_jobs),
    NamedCheck("L22", server.small_file),
    NamedCheck("L24", values.parent_pipelines_are_text),
    NamedCheck("L25", server.known_keywords),
    NamedCheck("L26", deploys.one_deployment_each),
    NamedCheck("R1", values.unconditional_workflow),
    NamedCheck("R3", deploys.manual_jobs_do_not_block),
    NamedCheck("R4", values.unconditional_jobs),
    NamedCheck("R6", values.children_are_waited_for),
    NamedCheck("D01", deploys.deploys_are_gates),
    NamedCheck("D02", waves.what_deploys_wait_for_counts),
    NamedCheck("D03", waves.no_deploy_overtakes_a_wave),
    NamedCheck("D04", waves.reports_have_names_of_their_own),
    NamedCheck("S01", secrets.builds_have_no_environment),
    NamedCheck("S02", secrets.secrets_stay_where_they_are_used),
    NamedCheck("S03", secrets.secrets_are_in_no_variable),
    NamedCheck("W01", graph.no_accidental_groups),
    NamedCheck("W02", deploys.deploys_are_alone),
    NamedCheck("W03", deploys.manual_jobs_say_so),
    NamedCheck("W04", deploys.no_deploys_for_merge_requests),
    NamedCheck("W05", values.timeouts_exist),
    NamedCheck("W06", server.near_limits),
    NamedCheck("W07", deploys.deploys_wait_for_something),
    NamedCheck("W08", secrets.secrets_are_not_shared),
)


OF_SIZE = frozenset({"L20", "L21", "L22"})
"""Rules that fewer jobs would not break."""

TOO_LARGE = (
    "exclude outputs, or raise gitlab.max_jobs where the server allows more, or gitlab.max_pipelines; "
    "caches make later pipelines small"
)
"""What to do about a pipeline that breaks one of them."""


def verify(
    pipeline: Pipeline,
    limits: Limits,
    version: str,
    *,
    yaml_bytes: int | None = None,
    merge_request: bool = False,
    child: bool = True,
    secret_names: Secrets = NO_SECRETS,
) -> tuple[Finding, ...]:
    """Everything that is wrong with `pipeline`, in the order of `CHECKS`.

    Args:
        limits: of the server.
        version: the oldest GitLab that must take the file, such as `17.5`.
        yaml_bytes: the size of the written file; without it sizes are not judged.
        merge_request: whether it runs for a merge request.
        child: false for a file that people include, which may have rules.
        secret_names: of the configuration.

    Raises:
        UsageError: `version` is no version.
    """
    subject = Subject(
        pipeline,
        limits,
        parse_version(version),
        yaml_bytes=yaml_bytes,
        merge_request=merge_request,
        child=child,
        secrets=secret_names,
    )
    return tuple(
        Finding(rule.name, rule.severity, job, message) for rule in CHECKS for job, message in rule.check(subject)
    )


def require_valid(
    pipeline: Pipeline,
    limits: Limits,
    version: str,
    *,
    yaml_bytes: int | None = None,
    merge_request: bool = False,
    child: bool = True,
    secret_names: Secrets = NO_SECRETS,
) -> tuple[Finding, ...]:
    """Like `verify`; the warnings, when there is no error.

    Raises:
        VerificationError: there are errors; it lists them and the warnings too.
        UsageError: `version` is no version.
    """
    findings = verify(
        pipeline,
        limits,
        version,
        yaml_bytes=yaml_bytes,
        merge_request=merge_request,
        child=child,
        secret_names=secret_names,
    )
    if any(finding.severity is Severity.ERROR for finding in findings):
        raise refusal(findings)
    return findings


def refusal(findings: Iterable[Finding], *more: str) -> VerificationError:
    """The error that says what is wrong, the worst first, and `more`."""
    listed = sorted(findings, key=lambda finding: finding.severity)
    errors = sum(finding.severity is Severity.ERROR for finding in listed)
    broken = "a rule" if errors == 1 else f"{errors} rules"
    return VerificationError(
        f"the pipeline breaks {broken}, so nothing was written",
        findings=[*(str(finding) for finding in listed[:errors]), *more, *(str(one) for one in listed[errors:])],
        hint=TOO_LARGE if any(finding.rule in OF_SIZE for finding in listed) else None,
    )
