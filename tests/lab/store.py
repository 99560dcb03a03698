"""A `/nix` of its own for each job, as runners have that share nothing, and who built what.

A store is a folder that is mounted on `/nix` in a mount namespace: what runs inside sees that store alone
(its paths, its database, its logs), and the mount is gone when the last process inside is.

Who built what is not taken from what a job prints, but from the logs that Nix itself keeps in the store: one
file for every derivation whose builder was started, successful or not. What was fetched or imported has none.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.machine import REPOSITORY, Result, run

STORES_VARIABLE = "PIPELINEGEN_LAB_STORES"
"""Names the folder in which `job-nix` keeps the stores of the jobs of one pipeline."""

NIX_CONFIG = """\
sandbox = false
build-users-group =
experimental-features = nix-command flakes
substituters =
trusted-public-keys =
require-sigs = true
gc-reserved-space = 1
"""
"""Settings of every store: no cache and no key is known unless the command that runs names it."""

_ENTER = 'mount --bind "$0" /nix && exec "$@"'

_JOB_NIX = """\
#!/bin/sh
# Runs pipelinegen with a /nix that belongs to this job alone: `gitlab.command` of the lab's pipelines.
set -eu
: "${{{variable}:?}}" "${{CI_JOB_NAME:?}}"
folder=${variable}/$(printf %s "$CI_JOB_NAME" | sha256sum | cut -c1-16)
mkdir -p "$folder/nix" "$folder/cache"
printf %s "$CI_JOB_NAME" > "$folder/name"
{exports}
export XDG_CACHE_HOME="$folder/cache"
exec unshare -m sh -c {enter} "$folder/nix" {python} -m pipelinegen "$@"
"""


@dataclass(frozen=True)
class PrivateStore:
    """One store in `folder` (which need not exist yet).

    Attributes:
        nix_bin: folder of the Nix to use; null means the one on PATH.
    """

    folder: Path
    nix_bin: Path | None = None

    def command(self, argv: Sequence[str | Path]) -> list[str]:
        """`argv` as a command that runs with this store on `/nix`."""
        return ["unshare", "-m", "sh", "-c", _ENTER, str(self.folder / "nix"), *map(str, argv)]

    def settings(self) -> dict[str, str]:
        """The variables that everything that runs inside needs: PATH, Nix's settings, where it keeps its caches."""
        return {**_environment(self.nix_bin), "XDG_CACHE_HOME": str(self.folder / "cache")}

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Our environment with the store's settings and caches, and `extra` above all."""
        return {**os.environ, **self.settings(), **(extra or {})}

    def run(
        self,
        *argv: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 120,
        check: bool = True,
    ) -> Result:
        """Run a command inside; see `machine.run`. `env` is added to the environment."""
        for part in ("nix", "cache"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        return run(self.command(argv), env=self.environment(env), cwd=cwd, timeout=timeout, check=check)

    def pipelinegen(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 120,
        check: bool = True,
    ) -> Result:
        """Run `pipelinegen …` inside, from this checkout."""
        argv = (sys.executable, "-m", "pipelinegen", *arguments)
        return self.run(*argv, env=env, cwd=cwd, timeout=timeout, check=check)

    def paths(self) -> set[str]:
        """Every path that lies in the store, derivations included, as `/nix/store/…`."""
        store = self.folder / "nix" / "store"
        if not store.is_dir():
            return set()
        return {f"/nix/store/{entry.name}" for entry in store.iterdir() if not entry.name.startswith(".")}

    def built(self) -> tuple[str, ...]:
        """The derivations whose builders were started here, sorted."""
        return tuple(sorted(self.logs()))

    def logs(self) -> dict[str, int]:
        """Derivation whose builder was started here → when the log of its last build was written, in ns."""
        logs = self.folder / "nix" / "var" / "log" / "nix" / "drvs"
        # Nix splits the name after its second character, and compresses the log unless told otherwise.
        return {
            f"/nix/store/{log.parent.name}{log.name.removesuffix('.bz2')}": log.stat().st_mtime_ns
            for log in logs.glob("??/*.drv*")
        }


@dataclass(frozen=True)
class JobStores:
    """The stores of the jobs of one pipeline run. A new run takes a new folder."""

    folder: Path

    @property
    def variables(self) -> dict[str, str]:
        """What the jobs must be given so that `job-nix` finds the folder."""
        return {STORES_VARIABLE: str(self.folder)}

    def store(self, job: str) -> PrivateStore:
        """The store of the job with this name, started or not."""
        return PrivateStore(self.folder / hashlib.sha256(job.encode()).hexdigest()[:16])

    def jobs(self) -> tuple[str, ...]:
        """Names of the jobs that ran pipelinegen, sorted."""
        return tuple(sorted(file.read_text() for file in self.folder.glob("*/name")))

    def built_by_job(self) -> dict[str, tuple[str, ...]]:
        """Job → the derivations it built."""
        return {job: self.store(job).built() for job in self.jobs()}

    def builds(self) -> Counter[str]:
        """Derivation → in how many jobs of this run it was built."""
        return Counter(drv for built in self.built_by_job().values() for drv in built)


@dataclass(frozen=True)
class SigningKey:
    """A cache's key pair: the file with the secret one, and the public one as `name:base64`."""

    secret_file: Path
    public: str

    @classmethod
    def generate(cls, secret_file: Path, name: str = "lab-1") -> SigningKey:
        """Make a new pair; the secret one goes to `secret_file`, readable for us alone."""
        public_file = f"{secret_file}.public"
        run(
            ["nix-store", "--generate-binary-cache-key", name, str(secret_file), public_file],
            env={**os.environ, **_environment(None)},
        )
        secret_file.chmod(0o600)
        return cls(secret_file, Path(public_file).read_text().strip())


def names(derivations: Sequence[str] | Counter[str] | set[str]) -> list[str]:
    """The derivations' own names (`libtext-1.0`), sorted, as often as they occur."""
    every = derivations.elements() if isinstance(derivations, Counter) else derivations
    return sorted(drv.removeprefix("/nix/store/")[33:].removesuffix(".drv") for drv in every)


def write_job_nix(file: Path, *, nix_bin: Path | None = None) -> Path:
    """Write the command that the jobs of a pipeline call instead of `pipelinegen`.

    It needs the variables of `JobStores.variables` and CI_JOB_NAME, and runs this checkout's pipelinegen.
    A job that calls it several times has one store.

    Args:
        file: where to; goes into the configuration as `gitlab.command`.
        nix_bin: folder of the Nix to use; null means the one on PATH.
    """
    exports = _environment(nix_bin)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        _JOB_NIX.format(
            variable=STORES_VARIABLE,
            exports="\n".join(f"export {name}={shlex.quote(value)}" for name, value in exports.items()),
            enter=shlex.quote(_ENTER),
            python=shlex.quote(sys.executable),
        )
    )
    file.chmod(0o755)
    return file


def _environment(nix_bin: Path | None) -> dict[str, str]:
    path = os.environ.get("PATH", os.defpath)
    return {
        "PATH": f"{nix_bin}:{path}" if nix_bin else path,
        "NIX_CONFIG": NIX_CONFIG,
        # Neither the computer's nor the user's settings count.
        "NIX_CONF_DIR": "/nonexistent",
        "NIX_USER_CONF_FILES": "",
        "NIX_REMOTE": "",
        "PYTHONPATH": str(REPOSITORY),
    }
