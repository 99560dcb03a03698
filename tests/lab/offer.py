"""What the example fleet offers at a commit, worked out with plain Nix and never taken from pipelinegen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from tests.gitrepo import ISOLATED
from tests.lab.repo import Project
from tests.lab.store import PrivateStore

HOSTS = ("db1", "web1", "web2")

_OFFER = """
let
  flake = builtins.getFlake "git+file://@FOLDER@?rev=@REV@";
  linux = set: set.x86_64-linux or { };
  prefixed = prefix: set: builtins.listToAttrs (map (name: { name = prefix + name; value = set.${name}; })
    (builtins.attrNames set));
  derivations = prefixed "" (linux (flake.packages or { }))
    // prefixed "check " (linux (flake.checks or { }))
    // prefixed "host " (builtins.mapAttrs (name: host: host.config.system.build.toplevel) flake.nixosConfigurations)
    // prefixed "shell " (builtins.mapAttrs (name: shell: shell.inputDerivation) (linux (flake.devShells or { })))
    // (if flake ? formatter then { formatter = flake.formatter.x86_64-linux; } else { });
  paths = one: { drv = one.drvPath; out = one.outPath; };
  tried = builtins.mapAttrs (name: one: builtins.tryEval (builtins.deepSeq (paths one) (paths one))) derivations;
in
builtins.mapAttrs (name: one: if one.success then one.value else null) tried
"""


@dataclass(frozen=True)
class Offer:
    """What the flake offers at a commit, as plain Nix says.

    Attributes:
        drvs, outs: target → its derivation and its output path. A target is named `api`, `check api-answers`,
            `host web1`, `shell default`, `formatter`; those that do not evaluate are absent.
        closures: target → all derivations that it takes to make it, its own too.
    """

    drvs: dict[str, str]
    outs: dict[str, str]
    closures: dict[str, frozenset[str]]

    @property
    def everything(self) -> frozenset[str]:
        """All derivations it takes to make all targets."""
        return frozenset().union(*self.closures.values())

    def systems(self) -> dict[str, str]:
        """Host → its system's store path."""
        return {name: self.outs[f"host {name}"] for name in HOSTS if f"host {name}" in self.outs}

    def published(self) -> set[str]:
        """Store paths that belong into the publish cache, without what they refer to."""
        return {out for target, out in self.outs.items() if not target.startswith("check ")}

    @classmethod
    def at(cls, project: Project, commit: str, store: PrivateStore) -> Offer:
        """Evaluate a commit."""
        expression = _OFFER.replace("@FOLDER@", str(project.folder)).replace("@REV@", commit)
        evaluated = store.run("nix", "eval", "--impure", "--json", "--expr", expression, env=ISOLATED).stdout
        found = {name: one for name, one in json.loads(evaluated).items() if one is not None}
        references = _references(store, [one["drv"] for one in found.values()])
        return cls(
            drvs={name: one["drv"] for name, one in found.items()},
            outs={name: one["out"] for name, one in found.items()},
            closures={name: _closure(one["drv"], references) for name, one in found.items()},
        )


def _references(store: PrivateStore, drvs: list[str]) -> dict[str, list[str]]:
    """Derivation → the derivations that it names, for all that `drvs` need."""
    every = [path for path in store.run("nix-store", "-qR", *drvs).stdout.split() if path.endswith(".drv")]
    # One at a time, in words that all versions of Nix have.
    ask = 'for drv; do echo "= $drv"; nix-store -q --references "$drv"; done'
    found: dict[str, list[str]] = {}
    drv = ""
    for line in store.run("sh", "-euc", ask, "sh", *every).stdout.splitlines():
        if line.startswith("= "):
            drv = line[2:]
            found[drv] = []
        elif line.endswith(".drv"):
            found[drv].append(line)
    return found


def _closure(drv: str, references: Mapping[str, list[str]]) -> frozenset[str]:
    seen: set[str] = set()
    left = [drv]
    while left:
        one = left.pop()
        if one not in seen:
            seen.add(one)
            left += references[one]
    return frozenset(seen)
