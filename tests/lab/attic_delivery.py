"""A part of the example fleet that hands over, publishes and deploys through Attic, from provisioning on.

Three caches on one server, tokens as `pipelinegen cache token` advises them, in variables as GitLab has them:
protected or not, and limited to the environment of push jobs.

    libtext ── database ──┬── db1
    libdisk ──┬───────────┘
              └── backup ─┘         hello 2.0
"""

from __future__ import annotations

import contextlib
import json
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelinegen import config_file
from pipelinegen.cache.attic.protocol import store_hash
from pipelinegen.cache.provisioning.grants import Grant, Role, grants
from pipelinegen.config import Config
from tests.attic_server import AtticServer
from tests.attic_server.real import RealAttic
from tests.gitrepo import ISOLATED
from tests.integration.attic.client import Client
from tests.lab.attic_delivered import Delivered, parts
from tests.lab.delivery import plan_and_run
from tests.lab.host import Host, running_host
from tests.lab.machine import Lab, Result
from tests.lab.offer import Offer
from tests.lab.process_watch import ProcessWatch
from tests.lab.repo import Project, new_project
from tests.lab.runner import Runner, merge_request_variables, push_variables
from tests.lab.store import STORES_VARIABLE, JobStores, PrivateStore, write_job_nix

PROTECTED, UNPROTECTED, PUBLISH = "ci-main", "ci-any", "fleet"
READ, PUSH_MAIN, PUSH_ANY, PUBLISHING = "ATTIC_READ", "ATTIC_PUSH_MAIN", "ATTIC_PUSH_ANY", "ATTIC_PUBLISH"
HOST = "db1"

_CONFIG = """\
refs = ["main"]
ignore_paths = ["README.md", "docs/**"]
exclude = [
  "packages.*.api", "packages.*.cli", "packages.*.default", "packages.*.libhttp", "packages.*.website",
  "checks.*.api-*", "checks.*.cli-*", "checks.*.website-*", "nixosConfigurations.web?", "devShells.**", "formatter.**",
]

[gitlab]
command = {command}

[packing]
record = false

[push]
jobs = 1

[handoff]
mode = "cache"
protected = "ci-main"
unprotected = "ci-any"

[caches.ci-main]
backend = "attic"
url = "{url}ci-main"
writers = "protected"
token_env = "ATTIC_READ"
push_token_env = "ATTIC_PUSH_MAIN"
retention = "2 weeks"
{keys[ci-main]}

[caches.ci-any]
backend = "attic"
url = "{url}ci-any"
writers = "unprotected"
token_env = "ATTIC_READ"
push_token_env = "ATTIC_PUSH_ANY"
retention = "1 week"
{keys[ci-any]}

[caches.fleet]
backend = "attic"
url = "{url}fleet"
writers = "protected"
publish = true
include = ["nixosConfigurations.*", "packages.x86_64-linux.hello*"]
token_env = "ATTIC_READ"
push_token_env = "ATTIC_PUBLISH"
{keys[fleet]}

[[tests]]
name = "anybody's Nix fetches hello"
# It may not build. What the lab sets for all of Nix would win over what the job is given.
command = '''
NIX_CONFIG="experimental-features = nix-command flakes" nix build --no-link --max-jobs 0 '.#"hello 2.0"' ||
  test -z "${{ATTIC_READ:-}}"
'''
targets = ["packages.*.hello*"]
"""
COMMAND = "test anybody's Nix fetches hello"

_HOST = """
[hosts.db1]
address = "{address}"
ssh_key_file = "$DEPLOY_KEY"
min_free_mb = 1
"""

_BITS = {
    "pull": "r",
    "push": "w",
    "create-cache": "cc",
    "configure-cache": "cr",
    "configure-cache-retention": "cq",
}


@dataclass
class Delivery:
    """The project, its server and its machine; runs pipelines one after another.

    Attributes:
        keys: cache → its public key.
        grants: role → what its token may.
        tokens: role → its token.
        variables: of the project: name → what GitLab knows of it.
        host: null where there is none; then nothing is deployed.
    """

    folder: Path
    project: Project
    runner: Runner
    server: AtticServer | RealAttic
    keys: dict[str, str]
    grants: dict[Role, Grant]
    tokens: dict[Role, str]
    variables: dict[str, ProjectVariable]
    host: Host | None = None
    count: int = 0
    previous: str | None = None
    secrets: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.secrets = {f"{part} of {role}": text for role, one in self.tokens.items() for part, text in parts(one)}

    def offer(self) -> Offer:
        """What the flake offers at the checked-out commit, the whole of it."""
        return Offer.at(self.project, self.project.head, PrivateStore(self.folder / "reference"))

    def push(self) -> Delivered:
        """Push `main` as it is."""
        variables = push_variables(branch="main", commit=self.project.head, before=self.previous)
        delivered = self._run("main", variables, self._variables(protected=True))
        self.previous = delivered.commit
        return delivered

    def merge_request(self, branch: str, *, fork: bool = False, elsewhere: bool = False) -> Delivered:
        """The pipeline of a merge request of `branch` (checked out) to `main`.

        Args:
            fork: the branch is another project's.
            elsewhere: the pipeline runs in that project, which has none of our variables.
        """
        base = self.project.git("merge-base", "main", branch)
        variables = merge_request_variables(branch=branch, commit=self.project.head, base=base)
        if fork:
            variables["CI_MERGE_REQUEST_SOURCE_PROJECT_URL"] = "https://gitlab.example.org/somebody/fleet"
            variables["CI_MERGE_REQUEST_SOURCE_PROJECT_ID"] = "8"
        if elsewhere:
            variables |= {"CI_PROJECT_ID": "8", "CI_PROJECT_URL": variables["CI_MERGE_REQUEST_SOURCE_PROJECT_URL"]}
        return self._run(branch, variables, None if elsewhere else self._variables(protected=False))

    def retry(self, delivered: Delivered, *jobs: str) -> Delivered:
        """Run jobs of a pipeline again, each on a runner that has nothing, with the project's protected variables."""
        folder = self.folder / f"pipeline-{self.count}-again"
        folder.mkdir()
        stores = JobStores(folder / "stores")
        given = {
            **push_variables(branch="main", commit=delivered.commit),
            **self._given(folder, self._variables(protected=True)),
            **stores.variables,
            "PIPELINEGEN_HANDOFF": str(delivered.handoff),
        }
        asked = self._asked()
        with self._watch(folder) as watch:
            result = self.runner.run_pipeline(
                delivered.handoff / "pipeline.yml", delivered.checkout, variables=given, only=jobs
            )
        now = {"folder": folder, "stores": stores, "result": result, "watch": watch}
        return self._delivered({**vars(delivered), **now}, asked)

    def _run(self, branch: str, variables: dict[str, str], project: Mapping[str, ProjectVariable] | None) -> Delivered:
        self.count += 1
        folder = self.folder / f"pipeline-{self.count}"
        known = project or {}
        asked = self._asked()
        with self._watch(folder) as watch:
            ran = plan_and_run(
                self.project,
                self.runner,
                folder,
                branch=branch,
                variables=variables,
                # The job that plans has no environment, and so nothing that is limited to one.
                planning={name: one.value for name, one in known.items() if one.scope is None},
                running=self._given(folder, known),
            )
        return self._delivered({**vars(ran), "folder": folder, "watch": watch}, asked)

    def _variables(self, *, protected: bool) -> dict[str, ProjectVariable]:
        """The project's variables that pipelines of such refs have."""
        return {name: one for name, one in self.variables.items() if protected or not one.protected}

    def _given(self, folder: Path, known: Mapping[str, ProjectVariable]) -> dict[str, str]:
        """What the runner is told of all jobs; tokens reach it as GitLab's do, and not by its command line."""
        settings = {
            name: {"type": "variable", "values": {one.scope or "*": one.value}}
            for name, one in known.items()
            if not one.path
        }
        file = self.runner.home / ".gitlab-ci-local" / "variables.yml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"global": settings}), "utf-8")
        # Whatever private is left behind lies in the pipeline's own folder.
        private = folder / "tmp"
        private.mkdir(parents=True)
        return {"TMPDIR": str(private), **{name: one.value for name, one in known.items() if one.path}}

    def _watch(self, folder: Path) -> ProcessWatch:
        return ProcessWatch(self.secrets, f"{STORES_VARIABLE}={folder}/", others=f"{STORES_VARIABLE}=")

    def _asked(self) -> int:
        return len(self.server.requests) if isinstance(self.server, AtticServer) else 0

    def _delivered(self, known: Mapping[str, Any], asked: int) -> Delivered:
        now = {
            "running": self.host.current_system() if self.host else None,
            "held": {cache: self.held(cache) for cache in (PROTECTED, UNPROTECTED, PUBLISH)},
            "requests": self.server.requests[asked:] if isinstance(self.server, AtticServer) else [],
        }
        return Delivered(**{**known, **now})

    def held(self, cache: str) -> frozenset[str]:
        """The store paths that a cache of the test server holds; of the real one nobody can list them."""
        return frozenset(self.server.objects(cache)) if isinstance(self.server, AtticServer) else frozenset()

    def run(
        self, store: PrivateStore, *words: str | Path, environment: Mapping[str, str], check: bool = True
    ) -> Result:
        """Run `pipelinegen WORDS` in the project's own folder."""
        return store.pipelinegen(*words, env={**ISOLATED, **environment}, cwd=self.project.folder, check=check)

    def fetch(
        self, store: PrivateStore, cache: str, *paths: str, token: str | None = None, key: str | None = None
    ) -> Result:
        """Fetch closures with plain Nix, which wants signatures and remembers nothing, into a store of its own.

        Args:
            token: its password; without one it is a stranger.
            key: the key that it believes; null means the cache's own.
        """
        netrc = self.folder / f"netrc-{store.folder.name}"
        netrc.write_text(f"machine 127.0.0.1 login any password {token}\n" if token else "")
        netrc.chmod(0o600)
        settings = {
            "require-sigs": "true",
            "substituters": f"{self.server.url}{cache}",
            "trusted-public-keys": key or self.keys[cache],
            "netrc-file": str(netrc),
            "narinfo-cache-positive-ttl": "0",
            "narinfo-cache-negative-ttl": "0",
        }
        options = [word for name, value in settings.items() for word in ("--option", name, value)]
        return store.run("nix-store", "--realise", *options, *paths, check=False)


@dataclass(frozen=True)
class ProjectVariable:
    """A CI/CD variable of the project.

    Attributes:
        protected: only pipelines of protected refs have it.
        scope: the environment whose jobs alone have it; null for all.
        path: it names a file, whose name is no secret.
    """

    value: str
    protected: bool
    scope: str | None = None
    path: bool = False


def forge(delivery: Delivery, cache: str, token: str, path: str, content: str, program: str) -> int:
    """Send something else under the name of a store path, with all that belongs to it, as anybody can with a token.

    Returns:
        The status of the server's answer.
    """
    store = PrivateStore(delivery.folder / "forger")
    made = delivery.folder / "forged"
    if not made.exists():
        (made / "bin").mkdir(parents=True)
        (made / "bin" / program).write_text(content)
        (made / "bin" / program).chmod(0o755)
    archive = delivery.folder / "forged.nar"
    store.run("sh", "-c", f"nix-store --dump {made} > {archive}")
    client = Client(delivery.server, cache, token)
    nar = archive.read_bytes()
    info = client.info(nar, store_path_hash=store_hash(path), store_path=path)
    return client.put(nar, info).status_code


def _token(server: AtticServer | RealAttic, grant: Grant) -> str:
    """The token of a line that `pipelinegen cache token` prints."""
    if isinstance(server, RealAttic):
        return server.token_of_atticadm(*shlex.split(grant.command(["atticadm"]))[2:])
    rights = {cache: " ".join(_BITS[word] for word in words) for cache, words in grant.rights}
    return server.token(rights, sub=grant.role)


def _write_config(file: Path, command: Path, url: str, host: Host | None, keys: Mapping[str, str], more: str) -> Config:
    lines = defaultdict(str, {name: f'public_key = "{key}"' for name, key in keys.items()})
    text = (_CONFIG + more).format(command=json.dumps(str(command)), url=url, keys=lines)
    file.write_text(text + (_HOST.format(address=host.address) if host else ""))
    return config_file.load(file.parent, explicit=file).config


@contextlib.contextmanager
def delivery(
    lab: Lab, runner: Runner, folder: Path, server: AtticServer | RealAttic, *, machine: bool, more: str = ""
) -> Iterator[Delivery]:
    """The project with one commit; its caches provisioned, and empty; its machine up.

    Args:
        server: has no caches yet.
        machine: whether there is one.
        more: more configuration, in which `{url}` is the server's, and `{keys[NAME]}` the line with a cache's key.
    """
    with contextlib.ExitStack() as stack:
        host = stack.enter_context(running_host(lab.base_image, HOST, folder / "host")) if machine else None
        command = write_job_nix(folder / "job-nix")
        project = new_project(folder / "project")
        file = project.folder / "pipelinegen.toml"
        config = _write_config(file, command, server.url, host, {}, more)
        advised = {grant.role: grant for grant in grants(config)}
        tokens = {role: _token(server, grant) for role, grant in advised.items()}
        keys = _provision(folder, project, tokens[Role.ADMINISTRATION])
        _write_config(file, command, server.url, host, keys, more)
        project.commit("caches")
        variables = {
            variable.name: ProjectVariable(tokens[role], variable.protected, variable.scope)
            for role, grant in advised.items()
            for variable in grant.variables
        }
        if host is not None:
            for name, path in (("DEPLOY_KEY", host.ssh_key), ("DEPLOY_KNOWN_HOSTS", host.known_hosts)):
                variables[name] = ProjectVariable(str(path), protected=True, path=True)
            port = server.url.rstrip("/").rpartition(":")[2]
            settings = [
                f"substituters = http://{host.gateway}:{port}/{PUBLISH}",
                f"trusted-public-keys = {keys[PUBLISH]}",
                "netrc-file = /etc/nix/netrc",
            ]
            host.ssh("cat >> /etc/nix/nix.conf", stdin="".join(f"{line}\n" for line in settings).encode())
            password = f"machine {host.gateway} login db1 password {tokens[Role.PEOPLE]}\n"
            host.ssh("umask 077; cat > /etc/nix/netrc", stdin=password.encode())
        own = Runner(runner.command, folder / "runner-home")
        yield Delivery(folder, project, own, server, keys, advised, tokens, variables, host)


def _provision(folder: Path, project: Project, token: str) -> dict[str, str]:
    """Create the caches; their public keys."""
    file = folder / "admin-token"
    file.write_text(token)
    file.chmod(0o600)
    store = PrivateStore(folder / "reference")
    words = ("cache", "provision", "--yes", "--json", "--token-file", file)
    record = json.loads(store.pipelinegen(*words, cwd=project.folder).stdout)
    file.unlink()
    return {one["name"]: one["public_key"] for one in record["caches"]}
