"""Small values for tests: a flake described by a few words becomes an inventory and a graph.

fleet = Fleet()
lib = fleet.drv("lib")
fleet.package("hello", fleet.drv("hello", lib))
fleet.host("web1", fleet.drv("system", lib))
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pipelinegen.inventory.model import Derivation, EvalFailure, FlakeOutput, FlakeSource, Inventory, Kind
from pipelinegen.testing import Recording

SYSTEM = "x86_64-linux"
ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"


def store_path(name: str, salt: str = "") -> str:
    """A store path whose hash depends on name and salt only."""
    digest = hashlib.sha256(f"{name}\0{salt}".encode()).digest()
    return "/nix/store/" + "".join(ALPHABET[byte % 32] for byte in digest) + f"-{name}"


class Fleet:
    """Collects derivations and outputs; `recording()` is what planning takes."""

    def __init__(self, salt: str = "") -> None:
        self.salt = salt
        self.graph: dict[str, Derivation] = {}
        self.outputs: list[FlakeOutput] = []
        self.failures: list[EvalFailure] = []

    def drv(
        self,
        name: str,
        *inputs: Derivation,
        system: str = SYSTEM,
        outputs: Sequence[str] = ("out",),
        features: Sequence[str] = (),
        salt: str = "",
        uses: str = "out",
        content_addressed: bool = False,
    ) -> Derivation:
        """A derivation that uses the output `uses` of each input."""
        mixed = self.salt + salt + "".join(one.path for one in inputs)
        paths = {o: store_path(name if o == "out" else f"{name}-{o}", mixed) for o in outputs}
        derivation = Derivation(
            path=store_path(f"{name}.drv", mixed),
            name=name,
            system=system,
            outputs=dict.fromkeys(outputs) if content_addressed else dict(paths),
            inputs={one.path: (uses,) for one in inputs},
            features=tuple(features),
        )
        self.graph[derivation.path] = derivation
        return derivation

    def output(
        self, path: tuple[str, ...], derivation: Derivation, kind: Kind, *suffix: str, wanted: Sequence[str] = ("out",)
    ) -> FlakeOutput:
        """An output of the flake."""
        output = FlakeOutput(
            path=path,
            drv_attr_path=(*path, *suffix),
            kind=kind,
            name=derivation.name,
            system=derivation.system,
            drv_path=derivation.path,
            outputs=derivation.outputs,
            wanted=tuple(wanted),
            features=derivation.features,
        )
        self.outputs.append(output)
        return output

    def package(self, name: str, derivation: Derivation) -> FlakeOutput:
        """`packages.<system>.<name>`."""
        return self.output(("packages", derivation.system, name), derivation, Kind.PACKAGE)

    def check(self, name: str, derivation: Derivation) -> FlakeOutput:
        """`checks.<system>.<name>`."""
        return self.output(("checks", derivation.system, name), derivation, Kind.CHECK)

    def host(self, name: str, derivation: Derivation) -> FlakeOutput:
        """`nixosConfigurations.<name>`."""
        path = ("nixosConfigurations", name)
        return self.output(path, derivation, Kind.NIXOS, "config", "system", "build", "toplevel")

    def failure(self, *path: str, message: str = "error: it broke", kind: Kind = Kind.PACKAGE) -> None:
        """An output that does not evaluate."""
        self.failures.append(EvalFailure(path=path, kind=kind, message=message))

    def recording(self) -> Recording:
        """Everything so far, sorted as a real inventory is."""
        inventory = Inventory(
            source=FlakeSource(reference="git+file:///fleet", store_path=store_path("source")),
            outputs=tuple(sorted(self.outputs, key=lambda output: output.path)),
            failures=tuple(sorted(self.failures, key=lambda failure: failure.path)),
        )
        return Recording(inventory=inventory, derivations=tuple(self.graph[path] for path in sorted(self.graph)))
