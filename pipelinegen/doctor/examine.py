"""The whole checklist, in the order in which a person would mend things."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelinegen import secret_files
from pipelinegen.ci_env import CiEnv
from pipelinegen.config import Config
from pipelinegen.doctor import (
    judge_machine,
    judge_memo,
    judge_nix,
    judge_secrets,
    network,
    read_machine,
    read_memo,
    read_nix,
)
from pipelinegen.doctor.model import Check, ok, problem, skipped
from pipelinegen.errors import ConfigError
from pipelinegen.onepassword import signed_in


@dataclass(frozen=True)
class Request:
    """What is examined.

    Attributes:
        config: null where it has mistakes.
        mistakes: those, as an error; null where it has none.
        file: where the configuration is from; null where there is none.
        environment: the variables of this process.
        memo: the folder in which evaluations are remembered.
        offline: ask nobody over the network.
    """

    directory: Path
    config: Config | None
    mistakes: ConfigError | None
    file: Path | None
    env: CiEnv
    environment: Mapping[str, str]
    memo: Path
    offline: bool = False


PROGRAMS = ("git", "ssh", "ssh-keygen", "zstd", "op", "nix-eval-jobs")


def examine(request: Request) -> Iterator[Check]:
    """Look at everything, one thing after the other. Raises nothing but InterruptedRunError."""
    config = request.config or Config()
    yield _configuration(request)
    facts = read_nix.read_nix()
    yield from judge_nix.judge_nix(facts)
    if facts.version is not None:
        yield judge_nix.judge_sandbox(read_nix.read_sandbox(facts.settings))
        yield judge_nix.judge_system(facts.settings, (runner.system for runner in config.runners))
    programs = read_machine.read_programs(PROGRAMS)
    wanted = config.evaluation.evaluator == "nix-eval-jobs"
    yield judge_machine.judge_eval_jobs(wanted=wanted, installed=programs["nix-eval-jobs"])
    checkout = read_machine.read_checkout(request.directory) if programs["git"] else read_machine.Checkout(found=False)
    yield from judge_machine.judge_git(installed=programs["git"], checkout=checkout)
    yield judge_memo.judge_memo(read_memo.read_memo(request.memo), config.evaluation)
    folders = read_machine.read_folders(checkout)
    yield judge_memo.judge_recording(read_memo.read_recording(), config.evaluation, folders)
    yield judge_machine.judge_ssh(programs, deploys=bool(config.hosts or config.hosts_from))
    yield judge_machine.judge_zstd(installed=programs["zstd"])
    yield judge_machine.judge_certificates(read_machine.read_certificates(request.environment))
    yield judge_machine.judge_private_place(read_machine.read_private_place(request.directory))
    yield judge_nix.judge_space("disk of this folder", read_nix.free_bytes(request.directory))
    yield from _secrets(request, config, op=programs["op"])
    yield from _network(request, config)


def _configuration(request: Request) -> Check:
    if request.mistakes is not None:
        return problem("configuration", f"{request.mistakes.message}: {request.mistakes.why}", request.mistakes.hint)
    if request.file is None:
        return skipped("configuration", "there is none: every value is the default")
    return ok("configuration", str(request.file))


def _secrets(request: Request, config: Config, *, op: bool) -> Iterator[Check]:
    if request.config is None:
        yield skipped("secrets", "the configuration has to be mended first")
        return
    environment = request.environment
    yield judge_machine.judge_op(
        judge_secrets.references(config, request.env, environment),
        installed=op,
        signed_in=signed_in(environment),
        in_ci=request.env.in_ci,
    )
    yield judge_secrets.judge_sign_in(config, request.env, environment)
    present = {one.name: secret_files.present(one.name) for one in judge_secrets.named_secrets(config)}
    yield from judge_secrets.judge_secrets(config, request.env, present)
    yield judge_secrets.judge_server_url(config, environment.get("ATTIC_SERVER_URL"))


def _network(request: Request, config: Config) -> Iterator[Check]:
    if request.offline:
        yield skipped("network", "not to be asked (--offline)")
        return
    yield from network.judge_caches(network.read_caches(config))
    api = request.env.api_url if request.env.gitlab else None
    yield network.judge_gitlab(api, network.read_gitlab(api) if api else None)
