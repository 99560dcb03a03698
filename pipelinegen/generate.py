"""The whole way once: git, flake, CI and caches go in; a plan and a child pipeline come out.

This is where the folders of the flow meet; each step is one call into one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pipelinegen import gitlab_api, local_store, nix
from pipelinegen.cache import read as caches
from pipelinegen.cache.trust import PipelineClass, pipeline_class, trusted_caches
from pipelinegen.changes import compare
from pipelinegen.changes.base import find_base
from pipelinegen.changes.fetch import Fetcher
from pipelinegen.changes.model import Base, ChangeSet, Head
from pipelinegen.changes.read import Repository
from pipelinegen.ci_env import CiEnv
from pipelinegen.config import FILE_NAME, Config
from pipelinegen.config_file import LoadedConfig
from pipelinegen.console import Console, plain
from pipelinegen.deployed import Deployed, systems_deployed
from pipelinegen.errors import FlakeError, MemoError, NoRepositoryError, ToolError
from pipelinegen.gitlab_deployments import last_deployed
from pipelinegen.history import HISTORY_FILE, History
from pipelinegen.history_files import read_history
from pipelinegen.inspecting import Inspector
from pipelinegen.inventory.flake_hosts import with_flake_hosts
from pipelinegen.inventory.model import FlakeSource, Inventory
from pipelinegen.inventory.read import read_source
from pipelinegen.job_names import HANDOFF
from pipelinegen.memo.inspect import Inspection
from pipelinegen.pipeline.children import PipelineFiles, make_files
from pipelinegen.pipeline.compile import INSPECT_JOB, Surroundings
from pipelinegen.pipeline.limits import parse_version
from pipelinegen.plan.make import make_plan
from pipelinegen.plan.model import Planned
from pipelinegen.plan.situation import Ref, Situation
from pipelinegen.recorded import Recorded, covered, recorded


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        flake: the reference the user named, such as `.` or `./nixos`.
        directory: the folder it is relative to.
        loaded: the configuration.
        env: what GitLab says.
        base: the commit to compare with that the user named.
        cache_directory: where base evaluations are kept.
        offline: ask no cache.
        history: the file of recorded build times; null means where `run record` leaves it in the repository.
        output: the folder that is written, null where nothing is.
        memo: use and extend what is remembered of evaluations.
        verify_memo: evaluate everything, and compare it with what is remembered.
    """

    flake: str
    directory: Path
    loaded: LoadedConfig
    env: CiEnv
    cache_directory: Path
    base: str | None = None
    offline: bool = False
    history: Path | None = None
    output: Path | None = None
    memo: bool = True
    verify_memo: bool = False


@dataclass(frozen=True)
class Generated:
    """What came out: the plan, the files that GitLab is given, what is known of build times, and of evaluation."""

    planned: Planned
    pipelines: PipelineFiles
    recorded: Recorded | None = None
    inspection: Inspection | None = None
    memo: bytes | None = None


def generate(request: Request, console: Console) -> Generated:
    """Plan the push and compile its pipeline; nothing is written.

    Raises:
        PipelinegenError: any of the tree; `VerificationError` when the pipeline would not be sound.
    """
    push = plan_push(request, console)
    pipelines = make_files(push.planned, push.config, push.surroundings)
    for warning in pipelines.warnings:
        console.warn(warning)
    return Generated(push.planned, pipelines, push.recorded, push.inspection, push.memo)


@dataclass(frozen=True)
class PlannedPush:
    """The plan of a push, and what its jobs are told.

    Attributes:
        config: as the user wrote it, with the hosts that the flake names.
        recorded: what the plan's builds take by recorded times; null where none are known.
        inspection: how head was inspected; null where nothing needed to be evaluated.
        memo: what is remembered, for pipelines of other branches; null where nothing is left for them.
    """

    planned: Planned
    surroundings: Surroundings
    config: Config
    recorded: Recorded | None = None
    inspection: Inspection | None = None
    memo: bytes | None = None


def plan_push(request: Request, console: Console) -> PlannedPush:
    """Everything up to the plan, and what the jobs will be told besides it.

    Raises:
        MemoError: a verification found that what is remembered of evaluations is wrong. Elsewhere everything is
            then evaluated.
    """
    verify = request.verify_memo or request.env.pipeline_source == "schedule"
    try:
        return _plan_push(request, console, verify=verify)
    except MemoError as error:
        if verify:
            raise
        console.warn(f"{error.message}: {error.where} ({error.why}); please report it. Everything is evaluated")
        return _plan_push(replace(request, memo=False), console, verify=False)


def _plan_push(request: Request, console: Console, *, verify: bool) -> PlannedPush:
    nix.version()  # without Nix there is nothing to be done
    config = request.loaded.config
    if not request.offline:
        config = caches.with_machine_caches(config, console.warn)
    repository = _repository(request)
    env = request.env if request.env.in_ci else _as_if_pushed(request.env, repository)
    head = repository.head() if repository else Head(rev=None, dirty=True)
    api = gitlab_api.connect(request.env)
    base = _find_base(request, repository, api)
    console.say(f"comparing with {base.rev or 'nothing'}: {base.reason}")
    files = repository.changed_files(base, head) if repository else None
    changes = ChangeSet(base=base, head=head, files=files)
    skipped = compare.may_skip_evaluation(changes, config)
    if _changes_the_configuration(request.loaded, repository, files):
        skipped = None
    source = read_source(request.flake, cwd=request.directory, config=config)
    top = repository.top if repository else request.directory
    handoff = _handoff(request.output, top)
    inspector = Inspector(
        config, request.cache_directory, console, memo=request.memo, verify=verify, env=request.env, output=handoff
    )
    if skipped is None:
        inventory = inspector.head(source)
        base_inventory = _base_inventory(inspector, source, repository, base)
        status, removed = compare.compare(inventory, base_inventory)
    else:
        inventory, base_inventory, status, removed = Inventory(source=source), None, {}, ()
    request, told_of_hosts = _with_flake_hosts(request, source, inventory, skipped, console)
    config = config.model_copy(update={"hosts": request.loaded.config.hosts})
    changes = ChangeSet(base=base, head=head, files=files, status=status, removed=removed, evaluation_skipped=skipped)
    kind = pipeline_class(env)
    _say_surroundings(env, config, kind, api, console)
    reader = caches.reader(config, kind, offline=request.offline)
    situation = Situation(
        config=config,
        inventory=inventory,
        changes=changes,
        availability=reader.ask_all(path for output in inventory.outputs for path in output.wanted_paths),
        ref=_ref(env, kind),
        flake=_shown(source, repository),
        host_settings=told_of_hosts,
    )
    at_hand = {base.rev: base_inventory} if base.rev and base_inventory else {}
    if head.rev and not head.dirty:
        at_hand[head.rev] = inventory
    told = _deployed(
        situation,
        request,
        repository,
        api,
        console,
        at_hand,
        inventory_at=lambda commit: inspector.at(commit, source, repository) if repository else None,
    )
    situation = replace(situation, deployed=told.systems, not_told=told.unknown)
    history, trouble = read_history(request.history or top / HISTORY_FILE)
    if trouble:
        console.warn(trouble)
    planned = make_plan(situation, load=inspector.load, ask=reader.ask, history=history)
    known = _recorded(planned, history, console)
    if known is not None:
        notes = (*planned.plan.notes, known.sentence())
        planned = planned.model_copy(update={"plan": planned.plan.model_copy(update={"notes": notes})})
    surroundings = Surroundings(
        config_path=_config_path(request.loaded, top),
        flake_directory=source.subdirectory,
        handoff=handoff,
        kind=kind,
        merge_request=env.merge_request is not None,
        image=env.image,
        # Elsewhere than in GitLab a job's name says nothing.
        parent_job=(env.job_name if env.gitlab else None) or INSPECT_JOB,
    )
    return PlannedPush(
        planned, surroundings, request.loaded.config, known, inspector.inspection, inspector.memo_to_leave(source)
    )


def _recorded(planned: Planned, history: History, console: Console) -> Recorded | None:
    """What the builds take by recorded times; null where none are known, which changes nothing of the plan."""
    if not history.size:
        return None
    systems = covered(planned.plan)
    if not all(Path(path).exists() for paths in systems.values() for path in paths):
        return None  # what was only remembered has no derivations here
    try:
        closures = {
            system: [path for path in local_store.requisites(paths) if path.endswith(".drv")]
            for system, paths in systems.items()
        }
    except ToolError as error:
        console.warn(f"how much time caches spare is not known: {error.message}")
        return None
    return recorded(planned, closures, history)


def _with_flake_hosts(
    request: Request, source: FlakeSource, inventory: Inventory, skipped: str | None, console: Console
) -> tuple[Request, dict[str, str]]:
    """The request with the hosts that the flake names, and what their jobs must be told of them."""
    loaded = request.loaded
    if skipped is not None or not loaded.config.hosts_from:
        return request, {}
    console.say(f"reading hosts of {', '.join(loaded.config.hosts_from)}")
    merged = with_flake_hosts(source, inventory, loaded.config)
    for note in merged.notes:
        console.warn(note)
    return replace(request, loaded=loaded.model_copy(update={"config": merged.config})), merged.settings


def _say_surroundings(
    env: CiEnv, config: Config, kind: PipelineClass, api: gitlab_api.GitLabApi | None, console: Console
) -> None:
    """What may differ between a laptop and CI: the ref, the caches, the API."""
    ref = "a merge request" if env.merge_request else f"branch {env.branch}" if env.branch else f"tag {env.tag}"
    console.say(f"planning for {plain(ref)}{'' if env.in_ci else ' as if it were pushed'} ({kind})")
    trusted = ", ".join(trusted_caches(config, kind)) or "none"
    console.say(f"trusted caches: {trusted}; GitLab's API: {'asked' if api else 'not asked'}")
    server, served = env.server_version, config.gitlab.version
    if server and parse_version(server) < parse_version(served):
        console.warn(f"the server is GitLab {server}, older than gitlab.version = {served}: it may refuse the file")


def _changes_the_configuration(
    loaded: LoadedConfig, repository: Repository | None, files: tuple[str, ...] | None
) -> bool:
    """Whether the settings that say what is irrelevant are themselves among the changed files."""
    if loaded.file is None or repository is None:
        return False
    return any(repository.top.resolve() / file == loaded.file for file in files or ())


def _shown(source: FlakeSource, repository: Repository | None) -> str:
    if repository is None:
        return source.reference
    return f"./{source.subdirectory}" if source.subdirectory else "."


def _repository(request: Request) -> Repository | None:
    try:
        return Repository.open(request.directory / request.flake.partition("#")[0].partition("?")[0])
    except NoRepositoryError:
        if request.env.in_ci:
            raise
        return None


def _as_if_pushed(env: CiEnv, repository: Repository | None) -> CiEnv:
    """A developer's machine previews a push of the branch that is checked out."""
    branch = _symbolic_ref(repository, "HEAD")
    default = _symbolic_ref(repository, "refs/remotes/origin/HEAD") or "main"
    return env.model_copy(
        update={
            "branch": branch,
            "ref_name": branch,
            "default_branch": default,
            "ref_protected": branch is not None and branch == default,
            "pipeline_source": "push",
        }
    )


def _symbolic_ref(repository: Repository | None, name: str) -> str | None:
    if repository is None:
        return None
    answer = repository.run("symbolic-ref", "--quiet", name, allowed=None).text.strip()
    return answer.removeprefix("refs/heads/").removeprefix("refs/remotes/origin/") or None


def _find_base(request: Request, repository: Repository | None, api: gitlab_api.GitLabApi | None) -> Base:
    if repository is None:
        return Base(rev=None, rule="no-repository", reason="the flake is not in a git repository")
    return find_base(repository, request.env, explicit=request.base, api=api)


def _base_inventory(
    inspector: Inspector, source: FlakeSource, repository: Repository | None, base: Base
) -> Inventory | None:
    """What the flake offered at the base; null when that is not known, which only costs builds."""
    if base.empty:
        return compare.nothing_before(Inventory(source=source))
    if repository is None or base.rev is None:
        return None
    return inspector.at(base.rev, source, repository)


def _deployed(
    situation: Situation,
    request: Request,
    repository: Repository | None,
    api: gitlab_api.GitLabApi | None,
    console: Console,
    at_hand: dict[str, Inventory],
    *,
    inventory_at: Callable[[str], Inventory | None],
) -> Deployed:
    """What hosts were last given, where GitLab may be asked and something is deployed at all."""
    if api is None or repository is None or situation.closed_reason() is not None:
        return Deployed()
    fetcher = Fetcher(repository, enabled=request.env.in_ci)
    told = systems_deployed(
        situation.config,
        situation.inventory,
        last_deployed=lambda environment: last_deployed(api, environment),
        inventory_at=lambda commit: inventory_at(commit) if fetcher.obtain(commit) else None,
        at_hand=at_hand,
        status=situation.changes.status,
    )
    for trouble in dict.fromkeys([*api.troubles, *fetcher.troubles]):
        console.warn(trouble)
    for host, why in told.unknown.items():
        console.say(f"what {host} was last given is not known: {why}")
    return told


def _ref(env: CiEnv, kind: PipelineClass) -> Ref:
    return Ref(
        name=env.tag or env.branch,
        is_branch=env.tag is None,
        default_branch=env.default_branch,
        merge_request=env.merge_request is not None or env.external_target_sha is not None,
        kind=kind,
        scheduled=env.pipeline_source == "schedule",
    )


def _handoff(output: Path | None, top: Path) -> str:
    """The folder that jobs find as an artifact: as it lies in the repository, else under its usual name."""
    if output is None or not output.resolve().is_relative_to(top.resolve()):
        return HANDOFF
    return str(output.resolve().relative_to(top.resolve()))


def _config_path(loaded: LoadedConfig, top: Path) -> str | None:
    """The configuration file relative to the repository's top, unless jobs find it there by themselves."""
    if loaded.file is None or loaded.file == top.resolve() / FILE_NAME:
        return None
    try:
        return str(loaded.file.relative_to(top.resolve()))
    except ValueError as error:
        raise FlakeError(
            "the configuration is outside of the repository",
            where=str(loaded.file),
            why="jobs of the child pipeline only have what is in the repository",
        ) from error
