"""The inventory of a flake and the graph of its derivations. Values only."""

from __future__ import annotations

import enum
from functools import cached_property

from pydantic import Field

from pipelinegen import attrpath
from pipelinegen.values import Value


class Kind(enum.StrEnum):
    """What an output is to its user; decides its stages."""

    PACKAGE = "package"
    CHECK = "check"
    DEV_SHELL = "dev-shell"
    FORMATTER = "formatter"
    HYDRA_JOB = "hydra-job"
    NIXOS = "nixos"
    DARWIN = "darwin"
    HOME = "home"
    OTHER = "other"
    """Found by a pattern of the configuration's `include`."""


class FlakeSource(Value):
    """The flake as Nix reports it: what is evaluated, exactly.

    Attributes:
        reference: what the user named, made absolute (`git+file:///repo?dir=sub`).
        store_path: the source tree in the store (`/nix/store/…-source`), without the subdirectory.
        subdirectory: folder of `flake.nix` inside the tree, "" for the top.
        source_info: the attributes Nix gives the source (`narHash`, `rev`, `dirtyRev`, `lastModified`, …).
        locks: the lock file as JSON, computed by Nix where the flake has none.
        relocated: lock nodes of relative inputs that are not in the flake's own lock file → their folder
            in the tree.
        nix_version: of the Nix that read it, such as `2.26.3`.
    """

    reference: str
    store_path: str
    subdirectory: str = ""
    source_info: dict[str, str | int | bool] = Field(default_factory=dict)
    locks: dict[str, object] = Field(default_factory=dict)
    relocated: dict[str, str] = Field(default_factory=dict)
    nix_version: str = ""

    @property
    def rev(self) -> str | None:
        """The commit id of a clean tree."""
        rev = self.source_info.get("rev")
        return rev if isinstance(rev, str) else None

    @property
    def dirty(self) -> bool:
        """Whether the tree has uncommitted changes (or is no git tree at all)."""
        return self.rev is None


class FlakeOutput(Value):
    """One attribute that yields a derivation.

    Attributes:
        path: attribute path as the user knows it: `("nixosConfigurations", "web1")`.
        drv_attr_path: the whole path to the derivation: `(…, "config", "system", "build", "toplevel")`.
        kind: see `Kind`.
        name: the derivation's name.
        system: such as `x86_64-linux`.
        drv_path: `/nix/store/….drv`.
        outputs: output name → store path; null where it is not known before the build
            (content-addressed derivations).
        wanted: the output names that building this attribute means (`meta.outputsToInstall`, else the
            one it evaluates to).
        features: `requiredSystemFeatures`.
        timeout, max_silent: `meta.timeout` and `meta.maxSilent` in seconds.
        unavailable: why it must not be built (`broken`, `unsupported`, …), null where it may. Its
            derivation is then not evaluated: `drv_path` is "" and `outputs` empty.
    """

    path: tuple[str, ...]
    drv_attr_path: tuple[str, ...]
    kind: Kind
    name: str = ""
    system: str = ""
    drv_path: str = ""
    outputs: dict[str, str | None] = Field(default_factory=dict)
    wanted: tuple[str, ...] = ("out",)
    features: tuple[str, ...] = ()
    timeout: int | None = None
    max_silent: int | None = None
    unavailable: str | None = None

    @cached_property
    def attr(self) -> str:
        """The attribute path as Nix prints it."""
        return attrpath.show(self.path)

    @property
    def drv_attr(self) -> str:
        """The path to the derivation as Nix prints it."""
        return attrpath.show(self.drv_attr_path)

    @property
    def wanted_paths(self) -> tuple[str, ...]:
        """The known store paths of the wanted outputs, in their order."""
        return tuple(path for name in self.wanted if (path := self.outputs.get(name)))


class EvalFailure(Value):
    """An output (or a whole set of them) that failed to evaluate, with Nix's own message, cleaned."""

    path: tuple[str, ...]
    kind: Kind
    message: str

    @property
    def attr(self) -> str:
        """The attribute path as Nix prints it."""
        return attrpath.show(self.path)


class Inventory(Value):
    """What one flake offers at one revision. Outputs and failures are sorted by path.

    Attributes:
        built_during_evaluation: derivations that evaluation itself had to build
            (import from derivation), sorted.
    """

    source: FlakeSource
    outputs: tuple[FlakeOutput, ...] = ()
    failures: tuple[EvalFailure, ...] = ()
    built_during_evaluation: tuple[str, ...] = ()


class Derivation(Value):
    """What a `.drv` file says, as far as planning needs it.

    Attributes:
        path: its own store path.
        name: its name without the store hash.
        system: where it builds; `builtin` builds anywhere.
        outputs: output name → store path, null where not known before the build.
        inputs: derivation path → output names that it uses.
        features: `requiredSystemFeatures`, sorted.
        prefer_local: `preferLocalBuild`.
        allow_substitutes: false where Nix would rather build than fetch it.
        fixed_output: its output is named by its content (a download).
    """

    path: str
    name: str
    system: str
    outputs: dict[str, str | None]
    inputs: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    features: tuple[str, ...] = ()
    prefer_local: bool = False
    allow_substitutes: bool = True
    fixed_output: bool = False


Graph = dict[str, Derivation]
"""Derivation path → derivation; closed under `inputs` as far as it was read."""
