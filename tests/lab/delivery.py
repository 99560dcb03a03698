"""The example fleet with everything around it: caches with keys, machines, and pipelines that are run for real.

What a pipeline should have done is worked out with plain Nix (`Offer`), never taken from pipelinegen.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.gitrepo import ISOLATED
from tests.lab.cache_server import CacheServer, cache_server
from tests.lab.host import Host, known_hosts, running_host
from tests.lab.machine import Lab
from tests.lab.offer import HOSTS, Offer
from tests.lab.repo import Project, new_project
from tests.lab.runner import PipelineResult, Runner, merge_request_variables, push_variables
from tests.lab.store import JobStores, PrivateStore, SigningKey, write_job_nix

PROTECTED, UNPROTECTED, PUBLISH = "ci", "ci-merge-requests", "fleet"

_CONFIG = """\
refs = ["main"]
ignore_paths = ["README.md", "docs/**"]

[gitlab]
command = {command}

[packing]
record = false

[handoff]
mode = "cache"
protected = "ci"
unprotected = "ci-merge-requests"

[caches.ci]
url = "file://{caches}/ci"
writers = "protected"
public_key = "{keys[ci]}"
secret_key_file = "$CI_CACHE_KEY"

[caches.ci-merge-requests]
url = "file://{caches}/ci-merge-requests"
writers = "unprotected"
public_key = "{keys[ci-merge-requests]}"
secret_key_file = "$MR_CACHE_KEY"

[caches.fleet]
url = "{url}"
push_url = "file://{caches}/fleet"
writers = "protected"
publish = true
public_key = "{keys[fleet]}"
secret_key_file = "$FLEET_CACHE_KEY"

[[tests]]
name = "switch script is valid sh"
command = "sh -n lib/switch-to-configuration.sh"
# It waits for all that it names, and what it names waits for it: web2 is not to wait for the others.
targets = ["nixosConfigurations.db1", "nixosConfigurations.web1"]
"""

_HOST = """
[hosts.{name}]
address = "{address}"
ssh_key_file = "$DEPLOY_KEY_{name}"
min_free_mb = 1
{more}
"""

_RELATED = 'gate = "related"\nchecks = ["checks.x86_64-linux.api-*", "checks.x86_64-linux.website-*"]'


@dataclass(frozen=True)
class Ran:
    """A pipeline that was planned and ran.

    Attributes:
        offer: what plain Nix says of the commit.
        plan, pipeline: `plan.json` and `pipeline.yml`, parsed.
        handoff: the folder that `generate` wrote.
        checkout: where the child ran; the runner's files are in there, too.
        bootstrap: the store in which `generate` ran.
        stores: of the child's jobs.
        result: how the jobs ended.
        seconds: how long `generate` and the child took.
    """

    commit: str
    offer: Offer
    plan: dict[str, Any]
    pipeline: dict[str, Any]
    handoff: Path
    checkout: Path
    bootstrap: PrivateStore
    stores: JobStores
    result: PipelineResult
    seconds: tuple[float, float]

    @property
    def jobs(self) -> dict[str, Any]:
        """The jobs of the pipeline file, in its order."""
        return {name: value for name, value in self.pipeline.items() if isinstance(value, dict) and "script" in value}

    def jobs_that(self, command: str) -> set[str]:
        """Names of the jobs that run `pipelinegen run COMMAND NAME` (no command of the configuration)."""
        return {
            name
            for name, job in self.jobs.items()
            if any(f" run {command} " in line and "--command" not in line for line in job["script"])
        }

    def decision(self, attr: str, stage: str) -> dict[str, Any]:
        """What the plan decided, with its reasons."""
        output = next(output for output in self.plan["outputs"] if output["attr"] == attr)
        decision: dict[str, Any] = output["decisions"][stage]
        return decision

    def deploy_report(self, host: str) -> dict[str, Any]:
        """What `run deploy` wrote about this host."""
        file = self.result.jobs[f"deploy {host}"].artifacts / "deploy.json"
        report: dict[str, Any] = json.loads(file.read_text())
        return report

    def seen(self) -> Iterator[tuple[str, str]]:
        """(where, text) of all that people, artifacts and the server get to see."""
        yield "the runner's output", self.result.output
        for job in self.result.jobs.values():
            yield f"log of {job.name}", job.log
            for file in sorted(job.artifacts.rglob("*")) if job.artifacts.is_dir() else []:
                if file.is_file():
                    yield f"artifact {file.name} of {job.name}", file.read_text("utf-8", "replace")
        for file in sorted(self.handoff.iterdir()):
            yield file.name, file.read_bytes().decode("utf-8", "replace")


def plan_and_run(
    project: Project,
    runner: Runner,
    folder: Path,
    *,
    branch: str,
    variables: Mapping[str, str],
    planning: Mapping[str, str],
    running: Mapping[str, str],
) -> Ran:
    """What GitLab does for the checked-out commit: the job that plans, then the child pipeline.

    Args:
        folder: for everything of this pipeline; must not exist. Base evaluations lie beside it.
        branch: the one that is checked out.
        variables: GitLab's own, of the child.
        planning, running: further variables of the job that plans, and of the child's jobs.
    """
    handoff = folder / "handoff"
    commit = project.head
    bootstrap = PrivateStore(folder / "bootstrap")
    stores = JobStores(folder / "stores")
    inspect = project.clone(folder / "inspect", branch=branch, commit=commit)
    source = "merge_request_event" if "CI_MERGE_REQUEST_IID" in variables else "push"
    started = time.monotonic()
    bootstrap.pipelinegen(
        *("generate", inspect, "-o", handoff),
        env={
            **variables,
            **ISOLATED,
            "CI_PIPELINE_SOURCE": source,
            "CI_PROJECT_DIR": str(inspect),
            "PIPELINEGEN_CACHE_DIR": str(folder.parent / "base-evaluations"),
            **planning,
        },
        cwd=inspect,
    )
    generated = time.monotonic()
    checkout = project.clone(folder / "checkout", branch=branch, commit=commit)
    result = runner.run_pipeline(
        handoff / "pipeline.yml",
        checkout,
        variables={"PIPELINEGEN_HANDOFF": str(handoff), **variables, **running, **stores.variables},
        unset=[] if "CI_COMMIT_BRANCH" in variables else ["CI_COMMIT_BRANCH"],
    )
    ended = time.monotonic()
    return Ran(
        commit=commit,
        offer=Offer.at(project, commit, PrivateStore(folder.parent / "reference")),
        plan=json.loads((handoff / "plan.json").read_text()),
        pipeline=yaml.safe_load((handoff / "pipeline.yml").read_text()),
        handoff=handoff,
        checkout=checkout,
        bootstrap=bootstrap,
        stores=stores,
        result=result,
        seconds=(generated - started, ended - generated),
    )


@dataclass(frozen=True)
class Delivered(Ran):
    """A pipeline that ran, and the world behind it.

    Attributes:
        running: host → store path of the system that runs on it behind the pipeline.
        caches: name → the files that a cache holds behind the pipeline (path → size and time of change).
        requests: what the publish cache was asked for in the pipeline: (address, path).
    """

    running: dict[str, str]
    caches: dict[str, dict[str, tuple[int, int]]]
    requests: list[tuple[str, str]]


@dataclass
class Delivery:
    """The project, its caches and its machines; runs pipelines one after another.

    Attributes:
        keys: cache name → its key pair.
        hosts: name → machine.
        publish: the server of the publish cache, the only cache that the machines know.
    """

    folder: Path
    project: Project
    runner: Runner
    hosts: dict[str, Host]
    keys: dict[str, SigningKey]
    publish: CacheServer
    count: int = 0
    previous: str | None = None
    known_hosts: Path = field(init=False)

    def __post_init__(self) -> None:
        self.known_hosts = known_hosts(list(self.hosts.values()), self.folder / "known_hosts")

    def cache_folder(self, name: str) -> Path:
        """Where a cache's files lie."""
        return self.folder / "caches" / name

    def offer(self) -> Offer:
        """What the flake offers at the checked-out commit."""
        return Offer.at(self.project, self.project.head, PrivateStore(self.folder / "reference"))

    def push(self) -> Delivered:
        """Push `main` as it is: a pipeline of a protected branch, with the project's protected variables."""
        variables = push_variables(branch="main", commit=self.project.head, before=self.previous)
        secrets = {
            "CI_CACHE_KEY": str(self.keys[PROTECTED].secret_file),
            "FLEET_CACHE_KEY": str(self.keys[PUBLISH].secret_file),
            "DEPLOY_KNOWN_HOSTS": str(self.known_hosts),
            **{f"DEPLOY_KEY_{name}": str(host.ssh_key) for name, host in self.hosts.items()},
        }
        delivered = self._run("main", variables, secrets)
        self.previous = delivered.commit
        return delivered

    def merge_request(self, branch: str) -> Delivered:
        """The pipeline of a merge request of `branch` (checked out) to `main`: it has the open variables alone."""
        base = self.project.git("merge-base", "main", branch)
        variables = merge_request_variables(branch=branch, commit=self.project.head, base=base)
        return self._run(branch, variables, {"MR_CACHE_KEY": str(self.keys[UNPROTECTED].secret_file)})

    def _run(self, branch: str, variables: dict[str, str], secrets: dict[str, str]) -> Delivered:
        self.count += 1
        asked = len(self.publish.requests)
        ran = plan_and_run(
            self.project,
            self.runner,
            self.folder / f"pipeline-{self.count}",
            branch=branch,
            variables=variables,
            # The bootstrap job builds nothing, publishes nothing and deploys nothing: it needs no secret.
            planning={},
            running=secrets,
        )
        return Delivered(
            **vars(ran),
            running={name: host.current_system() for name, host in self.hosts.items()},
            caches={name: _files(self.cache_folder(name)) for name in self.keys},
            requests=self.publish.requests[asked:],
        )


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): (file.stat().st_size, file.stat().st_mtime_ns) for file in files}


@contextlib.contextmanager
def delivery(lab: Lab, runner: Runner, folder: Path) -> Iterator[Delivery]:
    """The fleet in a fresh repository with one commit, its machines up, its caches empty."""
    (folder / "keys").mkdir()
    keys = {
        name: SigningKey.generate(folder / "keys" / f"{name}.secret", f"{name}-1")
        for name in (PROTECTED, UNPROTECTED, PUBLISH)
    }
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(cache_server(folder / "caches" / PUBLISH))
        hosts: dict[str, Host] = {}
        for name in HOSTS:
            trusted = [keys[PUBLISH].public]
            hosts[name] = stack.enter_context(
                running_host(lab.base_image, name, folder / "hosts" / name, trusted_keys=trusted)
            )
            cache = f"http://{hosts[name].gateway}:{server.port}"
            hosts[name].ssh(f"echo 'substituters = {cache}' >> /etc/nix/nix.conf")
        job_nix = write_job_nix(folder / "job-nix")
        config = _CONFIG.format(
            command=json.dumps(str(job_nix)),
            caches=folder / "caches",
            keys={name: key.public for name, key in keys.items()},
            url=f"http://127.0.0.1:{server.port}",
        )
        for name, host in hosts.items():
            config += _HOST.format(name=name, address=host.address, more=_RELATED if name == "web2" else "")
        project = new_project(folder / "project", files={"pipelinegen.toml": config})
        yield Delivery(folder, project, runner, hosts, keys, server)


def plant(cache: Path, key: SigningKey, path: str, make: Callable[[Path], None], folder: Path) -> None:
    """Put a forged store path into a binary cache, with all that belongs to it: archive, hashes, signature.

    Args:
        path: the store path that is claimed to be this content.
        make: writes the content to the place it is given.
        folder: for the forger's own store.
    """
    store = PrivateStore(folder)
    store.run("nix-store", "--init")
    inside = folder / "nix" / Path(path).relative_to("/nix")
    inside.parent.mkdir(parents=True, exist_ok=True)
    make(inside)
    claim = folder / "claim"
    claim.write_text(f"{path}\n\n0\n")
    store.run("sh", "-c", f"nix-store --register-validity < {claim}")
    store.run("nix", "copy", "--to", f"file://{cache}?secret-key={key.secret_file}", path)
    shutil.rmtree(folder)
