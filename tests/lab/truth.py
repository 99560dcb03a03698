"""What must be built, worked out with plain Nix and a listing of the caches' files, never taken from pipelinegen.

A derivation must be built when an output that somebody names is in no cache with all that it refers to.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.gitrepo import ISOLATED
from tests.lab.store import PrivateStore, SigningKey

Wanted = dict[str, set[str]]
"""Derivation → names of its outputs that are wanted."""

TARGETS = """
let
  flake = builtins.getFlake "git+file://@FOLDER@";
  values = set: map (name: set.${name}) (builtins.attrNames set);
  linux = set: values (set.x86_64-linux or { });
  systems = map (host: host.config.system.build.toplevel) (values (flake.nixosConfigurations or { }));
  shells = map (shell: shell.inputDerivation or shell) (linux flake.devShells or { });
  every = linux (flake.packages or { }) ++ linux (flake.checks or { }) ++ systems ++ shells
    ++ (if flake ? formatter then [ flake.formatter.x86_64-linux ] else [ ]);
in
  map (one: { drv = one.drvPath; outputs = one.meta.outputsToInstall or [ one.outputName ]; }) every
"""


@dataclass(frozen=True)
class Truth:
    """What a flake's attributes are made of, as plain Nix says.

    Attributes:
        wanted: the derivations of the attributes.
        inputs: derivation → what it uses of others, for all that the attributes need.
        outputs: derivation → output name → store path.
    """

    wanted: Wanted
    inputs: dict[str, Wanted]
    outputs: dict[str, dict[str, str]]

    @classmethod
    def at(cls, folder: Path, store: PrivateStore) -> Truth:
        """Evaluate the flake in a git work tree."""
        expression = TARGETS.replace("@FOLDER@", str(folder))
        found = json.loads(store.run("nix", "eval", "--impure", "--json", "--expr", expression, env=ISOLATED).stdout)
        wanted: Wanted = {}
        for one in found:
            wanted.setdefault(one["drv"], set()).update(one["outputs"])
        shown = json.loads(store.run("nix", "show-derivation", "--recursive", *wanted).stdout)
        return cls(
            wanted=wanted,
            inputs={drv: {path: _names(used) for path, used in one["inputDrvs"].items()} for drv, one in shown.items()},
            outputs={drv: {name: out["path"] for name, out in one["outputs"].items()} for drv, one in shown.items()},
        )

    def paths(self, wanted: Mapping[str, Iterable[str]]) -> list[str]:
        """Store paths of outputs, sorted."""
        return sorted(self.outputs[drv][output] for drv, names in wanted.items() for output in names)

    def to_build(self, available: set[str]) -> Wanted:
        """What must be built where the store paths in `available` can be fetched, and which outputs are used."""
        builds: Wanted = {}
        used: Wanted = {}
        left = [(drv, output) for drv, outputs in self.wanted.items() for output in outputs]
        while left:
            drv, output = left.pop()
            if output in used.setdefault(drv, set()):
                continue
            used[drv].add(output)
            if drv not in builds and self.outputs[drv][output] not in available:
                builds[drv] = used[drv]
                left += [(path, name) for path, names in self.inputs[drv].items() for name in names]
        return builds

    def need(self, drvs: Iterable[str], culprit: str, available: Collection[str] = ()) -> set[str]:
        """Those of `drvs` that cannot be built without `culprit`, directly or through others, and itself.

        Args:
            available: store paths that can be had without building them.
        """
        answers: dict[str, bool] = {culprit: True}

        def needs(drv: str) -> bool:
            if drv not in answers:
                used = self.inputs[drv].items()
                missing = [path for path, names in used if not set(self.paths({path: names})) <= set(available)]
                answers[drv] = any(needs(path) for path in missing)
            return answers[drv]

        return {drv for drv in drvs if needs(drv)}


def _names(used: list[str] | dict[str, list[str]]) -> set[str]:
    """Up to Nix 2.16 the names of outputs alone, since then beside what is only known later."""
    return set(used["outputs"] if isinstance(used, dict) else used)


References = dict[str, set[str]]
"""Store path → the store paths that it refers to."""


def listing(folder: Path, key: SigningKey | None) -> References:
    """What a binary cache in a folder holds; null where no signature is needed."""
    held: References = {}
    for file in folder.glob("*.narinfo"):
        said = dict(line.split(": ", 1) for line in file.read_text().splitlines())
        signed = key is None or said.get("Sig", "").startswith(key.public.partition(":")[0] + ":")
        if signed and (folder / said["URL"]).exists():
            held[said["StorePath"]] = {f"/nix/store/{name}" for name in said["References"].split()}
    return held


def whole(held: References) -> set[str]:
    """The store paths that are there with all that they refer to."""
    paths = set(held)
    while lost := {path for path in paths if not held[path] <= paths}:
        paths -= lost
    return paths
