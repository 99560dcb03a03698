"""Command lines with which a person makes a failure happen again. Pure."""

from __future__ import annotations

from urllib.parse import quote

from pipelinegen import attrpath, process
from pipelinegen.plan.model import Unit, Work

_BUILDS = {
    "nixosConfigurations": ("config", "system", "build", "toplevel"),
    "darwinConfigurations": ("system",),
    "homeConfigurations": ("activationPackage",),
}
"""What building such an output means; the other kinds are derivations themselves."""


def installable(flake: str, attr: str) -> str | None:
    """`FLAKE#ATTR` as `nix build` takes it; null where it cannot.

    Its quotes know no escapes (`parseAttrPath` in Nix's `src/libexpr/attr-path.cc`), unlike the language's, but
    all of it is percent-decoded, as the fragment of a URL.
    """
    path = attrpath.parse(attr)
    names = (*path, *_BUILDS.get(path[0], ()))
    if any('"' in name for name in names):
        return None
    shown = ((name, attrpath.show_name(name)) for name in names)
    return f"{flake}#" + ".".join(
        f'"{quote(name, safe=" @:+,=")}"' if text.startswith('"') else text for name, text in shown
    )


def lines(work: Work, unit: Unit, drv_path: str, again: str | None) -> list[str]:
    """The shortest way first: the flake's output, the derivation alone, the job."""
    named = [installable(work.flake, attr) for attr in (*unit.targets, *unit.serves)[:1]]
    found = [process.quote(["nix", "build", one]) for one in named if one is not None]
    found.append(process.quote(["nix-store", "--realise", drv_path]))
    if again is not None:
        found.append(again)
    return found
