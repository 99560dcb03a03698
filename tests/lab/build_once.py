"""A pipeline that is planned once and whose jobs are executed on simulated runners, and what must hold then."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import gitrepo
from tests.gitrepo import ISOLATED
from tests.lab import launch
from tests.lab.executor import Executor, Stores
from tests.lab.graphs import Ledger, Sketch, write_flake
from tests.lab.repo import Project
from tests.lab.runner import push_variables
from tests.lab.store import PrivateStore, SigningKey, names
from tests.lab.truth import References, Truth, Wanted, listing, whole

HANDOFF = ".pipelinegen"
"""Where the handoff lies in a checkout."""

HANDED, UPSTREAM = "ci", "upstream"
"""Caches: through which jobs hand over (where they do), and which was there before."""


@dataclass(frozen=True)
class World:
    """What stays the same from flake to flake.

    Attributes:
        reference: the store in which plain Nix is asked.
        keys: cache → its key pair.
        programs: folder with a `pipelinegen` for shells.
    """

    reference: PrivateStore
    keys: dict[str, SigningKey]
    programs: Path

    @classmethod
    def make(cls, folder: Path) -> World:
        """In an empty folder."""
        keys = {name: SigningKey.generate(folder / f"{name}.secret", f"{name}-1") for name in (HANDED, UPSTREAM)}
        programs = folder / "programs"
        programs.mkdir()
        command = shlex.join([sys.executable, "-m", "pipelinegen"])
        (programs / launch.PROGRAM).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (programs / launch.PROGRAM).chmod(0o755)
        return cls(PrivateStore(folder / "reference"), keys, programs)


def sketched(folder: Path, sketch: Sketch) -> Project:
    """A repository with the flake of a sketch, not committed yet."""
    gitrepo.make_repo(folder)
    for name, text in write_flake(sketch).items():
        (folder / name).write_text(text, "utf-8")
    return Project(folder)


@dataclass
class Run:
    """One flake's pipeline: a commit on `main`, planned once, executed on runners.

    Attributes:
        folder: for everything that belongs to it.
        project: the repository; the configuration is added to it.
        mode: of the handoff.
        stores: see `executor.Stores`. In mode `runner` all jobs and the planning share one.
        settings: more tables of `pipelinegen.toml`.
        path: a folder that comes first in PATH.
        nix_bin: folder of the Nix that plans and builds; null means the one on PATH.
        available: store paths that could be fetched before it started.
        held: those and what a cache held without all that it refers to.
    """

    world: World
    folder: Path
    project: Project
    mode: str = "cache"
    stores: Stores = "job"
    settings: str = ""
    runners: int = 2
    shell: bool = False
    path: Path | None = None
    nix_bin: Path | None = None
    truth: Truth = field(init=False)
    executor: Executor = field(init=False)
    available: set[str] = field(init=False, default_factory=set)
    held: set[str] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        lines = [f'handoff.mode = "{self.mode}"']
        if self.mode == "cache":
            lines.append(f'handoff.protected = "{HANDED}"')
        for name in self._caches:
            self.cache(name).mkdir(parents=True)
            (self.cache(name) / "nix-cache-info").write_text("StoreDir: /nix/store\n")
            said = {"url": f"file://{self.cache(name)}", "public_key": self.world.keys[name].public}
            if name == HANDED:
                said |= {"writers": "protected", "secret_key_file": "$HANDOFF_KEY"}
            lines += [f"[caches.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in said.items())]
        (self.project.folder / "pipelinegen.toml").write_text("\n".join([*lines, self.settings, ""]))
        self.project.commit("as it is pushed")
        self.truth = Truth.at(self.project.folder, self.world.reference)

    @property
    def _caches(self) -> list[str]:
        return [HANDED, UPSTREAM] if self.mode == "cache" else [UPSTREAM]

    @property
    def bootstrap(self) -> PrivateStore:
        """The store in which it is planned."""
        return PrivateStore(self.folder / "bootstrap", self.nix_bin)

    @property
    def handoff(self) -> Path:
        """The folder that planning wrote."""
        return self.folder / "inspect" / HANDOFF

    @property
    def ledger(self) -> Ledger:
        """What builders of sketches leave."""
        return Ledger(self.folder / "lab")

    def cache(self, name: str) -> Path:
        """Where a cache's files lie."""
        return self.folder / "caches" / name

    # --- before

    def seed(self, name: str, paths: Iterable[str]) -> None:
        """Put store paths with all they refer to into a cache, as an earlier pipeline has."""
        drvs = {path: drv for drv, outputs in self.truth.outputs.items() for path in outputs.values()}
        wanted = sorted(paths)
        if wanted:
            store = self.world.reference
            launch.prepare(store.folder, self.ledger.folder)
            store.run("nix-store", "--realise", *sorted({drvs[path] for path in wanted}))
            key = self.world.keys[name].secret_file
            store.run("nix", "copy", "--to", f"file://{self.cache(name)}?secret-key={key}", *wanted)
            self.ledger.clear()

    def path_of(self, output: str) -> str:
        """The store path of `node:output`."""
        node, _, name = output.partition(":")
        (drv,) = [drv for drv in self.truth.outputs if names([drv]) == [node]]
        return self.truth.outputs[drv][name]

    def all_paths(self) -> list[str]:
        """The store paths of all outputs of everything, always in the same order."""
        return self.truth.paths(self.truth.outputs)

    def lose(self, path: str) -> None:
        """Take a store path out of all caches, and leave what refers to it."""
        for name in self._caches:
            (self.cache(name) / f"{path.removeprefix('/nix/store/')[:32]}.narinfo").unlink(missing_ok=True)

    def fetchable(self) -> set[str]:
        """The store paths that can be fetched from the trusted caches now."""
        return whole(self.listing())

    def listing(self) -> References:
        """The store paths that the trusted caches hold, with or without what they refer to."""
        return dict(item for name in self._caches for item in listing(self.cache(name), self.world.keys[name]).items())

    def plan(self) -> None:
        """Run `pipelinegen generate`, once, in a store of its own."""
        self.available, self.held = self.fetchable(), set(self.listing())
        checkout = self.project.clone(self.folder / "checkout")
        inspect = self.folder / "inspect"
        shutil.copytree(checkout, inspect, symlinks=True)
        script = (f"pipelinegen generate . --output {HANDOFF}",)
        environment = {**self.bootstrap.settings(), **self._environment("push"), "CI_PROJECT_DIR": str(inspect)}
        log = self.folder / "generate.log"
        folder = self.bootstrap.folder
        order = launch.Order(script, folder, inspect, environment, log, self.ledger.folder, shell=self.shell)
        process = launch.start(order)
        process.join(60)
        assert process.exitcode == 0, log.read_text()
        assert self.bootstrap.built() == ()
        shutil.copytree(self.handoff, self.folder / "left-by-inspect" / HANDOFF)
        self.executor = Executor(
            self.folder,
            tuple(sorted(self.handoff.glob("pipeline-*.yml"))) or (self.handoff / "pipeline.yml",),
            checkout=checkout,
            handoff=self.folder / "left-by-inspect",
            environment={
                **self._environment("parent_pipeline"),
                "HANDOFF_KEY": str(self.world.keys[HANDED].secret_file),
            },
            stores="shared" if self.mode == "runner" else self.stores,
            shared=self.bootstrap.folder,
            runners=self.runners,
            shell=self.shell,
            lab=self.ledger.folder,
            nix_bin=self.nix_bin,
        )

    def _environment(self, source: str) -> dict[str, str]:
        first = [str(folder) for folder in (self.path, self.nix_bin, self.world.programs) if folder]
        return {
            **push_variables(branch="main", commit=self.project.head),
            **ISOLATED,
            "CI_PIPELINE_SOURCE": source,
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "PATH": os.pathsep.join([*first, os.environ.get("PATH", os.defpath)]),
        }

    # --- behind

    @property
    def units(self) -> dict[str, dict[str, Any]]:
        """Job → its work, as the handoff says."""
        return {unit["job"]: unit for unit in json.loads((self.handoff / "work.json").read_text())["units"]}

    def repeats(self) -> dict[str, int]:
        """Derivation → how many jobs build it, where the plan declares that several do."""
        units = self.units.values()
        jobs = Counter(one["drv_path"] for unit in units for one in unit["builds"])
        repeated = {drv: count for drv, count in jobs.items() if count > 1}
        assert Counter(drv for unit in units for drv in unit.get("repeats", ())) == repeated
        return repeated

    def executions(self) -> Counter[str]:
        """Derivation → how often its builder was started, by the logs that Nix keeps in the stores.

        Jobs that share one store cannot be told apart by its logs: there it is what the builders noted.
        """
        noted = self.ledger.executions()
        if self.executor.stores == "shared":
            drvs = {names([drv])[0]: drv for drv in self.truth.inputs}
            return Counter({drvs[name]: count for name, count in noted.items()} if noted else self.bootstrap.built())
        counted = Counter(drv for _, drv in self.executor.built())
        assert not noted or noted == Counter(names(counted))
        return counted

    def require_passed(self) -> None:
        """Every job was tried and passed.

        Raises:
            AssertionError: naming those that were not, with the logs of those that failed.
        """
        statuses = self.executor.statuses()
        assert all(statuses.get(name) == "passed" for name in self.executor.jobs), self.executor.describe()

    def require_built_once(self, *, failed: str | None = None) -> None:
        """Exactly what was missing was built, each in the job that the plan names, as often as it says.

        Args:
            failed: a derivation that failed once and was tried again.
        """
        missing = self.truth.to_build(self.available)
        # What a cache holds without what it refers to can be fetched as soon as that is built.
        revived = {drv for drv in missing if self.held.issuperset(self.truth.paths({drv: missing[drv]}))}
        executions, repeats = self.executions(), self.repeats()
        assert names(set(executions) - set(missing)) == [], "it was there already"
        assert names(set(missing) - revived - set(executions)) == [], "nobody built it"
        tries = {failed: 2}
        if self.mode == "artifacts":  # GitLab gives none of a failed try to the next one
            tries |= {drv: 2 for one in self.executor.ended if one.status == "failed" for drv in one.built}
        often = {drv: n for drv, n in executions.items() if n > repeats.get(drv, 1) * tries.get(drv, 1)}
        assert not often, f"built too often: {often}\n{self.executor.describe()}"
        assert set(repeats) <= set(missing)
        if self.executor.stores != "shared":
            planned = {job: {one["drv_path"] for one in unit["builds"]} for job, unit in self.units.items()}
            assert [(job, drv) for job, drv in self.executor.built() if drv not in planned[job]] == []

    def require_handed_over(self, targets: Iterable[str] | None = None) -> None:
        """Attributes' outputs can be fetched, whole, by a machine that has nothing; nothing is built for that.

        Args:
            targets: derivations of attributes; null means all.
        """
        wanted = {drv: outputs for drv, outputs in self.truth.wanted.items() if targets is None or drv in targets}
        paths = self.truth.paths(wanted)
        if self.mode == "runner":
            left = {path for path in paths if path not in self.available}
            assert self.bootstrap.run("nix-store", "--check-validity", "--print-invalid", *left).stdout == ""
            return
        sources = [f"file://{self.cache(name)}" for name in self._caches]
        if self.mode == "artifacts":
            sources += [f"file://{folder}?trusted=true" for folder in self._left_by_targets(wanted)]
        keys = " ".join(self.world.keys[name].public for name in self._caches)
        machine = PrivateStore(self.folder / "machine", self.nix_bin)
        options = ("--option", "substituters", " ".join(sources), "--option", "trusted-public-keys", keys)
        machine.run("nix-store", "--realise", *options, *paths)
        assert machine.built() == ()

    def _left_by_targets(self, wanted: Wanted) -> list[Path]:
        """The artifacts of the jobs that made attributes: each job's are enough, with what was in the cache."""
        upstream = listing(self.cache(UPSTREAM), self.world.keys[UPSTREAM])
        folders = []
        for job, unit in self.units.items():
            made = {one["drv_path"] for one in unit["builds"]} & wanted.keys()
            if made:
                found = [file.parent for file in self.executor.artifacts[job].rglob("nix-cache-info")]
                assert len(found) == 1, found
                paths = self.truth.paths({drv: wanted[drv] for drv in made})
                assert set(paths) <= whole({**upstream, **listing(found[0], None)}), f"{job} left too little"
                folders += found
        return folders
