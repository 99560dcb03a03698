"""Command lines with which a person makes a failure happen again. Pure."""

from __future__ import annotations

from pipelinegen import attrpath, process
from pipelinegen.plan.model import Unit, Work

_BUILDS = {
    "nixosConfigurations": ("config", "system", "build", "toplevel"),
    "darwinConfigurations": ("system",),
    "homeConfigurations": ("activationPackage",),
}
"""What building such an output means; the other kinds are derivations themselves."""


def installable(flake: str, attr: str) -> str:
    """`FLAKE#ATTR` as `nix build` takes it."""
    path = attrpath.parse(attr)
    return f"{flake}#{attrpath.show((*path, *_BUILDS.get(path[0], ())))}"


def lines(work: Work, unit: Unit, drv_path: str, again: str | None) -> list[str]:
    """The shortest way first: the flake's output, the derivation alone, the job."""
    found = [process.quote(["nix", "build", installable(work.flake, attr)]) for attr in unit.targets[:1]]
    found.append(process.quote(["nix-store", "--realise", drv_path]))
    if again is not None:
        found.append(again)
    return found
