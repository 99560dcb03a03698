"""Snapshot tests of a project's own child pipelines, for pytest and syrupy.

Record what the flake offers once (it needs Nix), commit the recording, and let merge requests show what a
change of configuration or flake does to the pipeline:

    # tests/test_pipeline.py
    from pipelinegen.testing import PipelineSnapshot, load_recording, render_pipeline

    def test_push_to_main(snapshot):
        pipeline = render_pipeline(load_recording("tests/fleet.json"), config="pipelinegen.toml", branch="main")
        assert pipeline == snapshot(extension_class=PipelineSnapshot)

`python -m pipelinegen.testing FLAKE FILE` writes (or renews) the recording.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from pipelinegen import config_file as configuration
from pipelinegen.cache.model import Availability
from pipelinegen.cache.trust import PipelineClass, publish_caches, trusted_caches
from pipelinegen.changes.compare import compare
from pipelinegen.changes.model import Base, ChangeSet, Head
from pipelinegen.config import Config
from pipelinegen.errors import PipelinegenError
from pipelinegen.files import write_atomic
from pipelinegen.inventory.model import Derivation, FlakeSource, Inventory
from pipelinegen.pipeline.children import make_files
from pipelinegen.pipeline.compile import Surroundings
from pipelinegen.pipeline.emit import to_yaml
from pipelinegen.plan.make import make_plan
from pipelinegen.plan.model import Planned
from pipelinegen.plan.situation import Ref, Situation
from pipelinegen.values import Value

HEAD_REV = "1" * 40
BASE_REV = "0" * 39 + "1"


class Recording(Value):
    """A flake's inventory and the derivations that it stands on."""

    inventory: Inventory
    derivations: tuple[Derivation, ...] = ()


def record(flake: str, *, directory: Path | None = None, config: Config | None = None) -> Recording:
    """Evaluate a flake with the Nix on PATH.

    Raises:
        PipelinegenError: there is no Nix, or the flake cannot be read.
    """
    from pipelinegen.inventory.graph import read_graph  # noqa: PLC0415  # only recording needs Nix
    from pipelinegen.inventory.read import read_inventory, read_source  # noqa: PLC0415

    settings = config or Config()
    source = read_source(flake, cwd=directory or Path.cwd(), config=settings)
    inventory = read_inventory(source, settings)
    graph = read_graph([output.drv_path for output in inventory.outputs if output.drv_path])
    # Where the flake lies and which commit it is would change with every commit and say nothing.
    nowhere = FlakeSource(reference=".", store_path="")
    return Recording(
        inventory=inventory.model_copy(update={"source": nowhere}),
        derivations=tuple(graph[path] for path in sorted(graph)),
    )


def save_recording(recording: Recording, file: str | Path) -> None:
    """Write a recording as JSON."""
    write_atomic(Path(file), recording.model_dump_json(indent=1) + "\n")


def load_recording(file: str | Path) -> Recording:
    """Read what `save_recording` wrote."""
    return Recording.model_validate_json(Path(file).read_text("utf-8"))


def plan_recording(  # one keyword per fact of a push
    recording: Recording,
    *,
    config: Config | str | Path | None = None,
    branch: str | None = "main",
    default_branch: str = "main",
    protected: bool | None = None,
    merge_request: bool = False,
    fork: bool = False,
    scheduled: bool = False,
    base: Recording | None = None,
    held: Mapping[str, Collection[str]] | None = None,
    deployed: Mapping[str, str] | None = None,
) -> Planned:
    """Plan a push of the recorded flake, without Nix, git or network.

    Args:
        recording: what the flake offers.
        config: a `Config`, or a `pipelinegen.toml`.
        branch: what is pushed; null means a tag.
        default_branch: the project's default branch.
        protected: whether the ref is protected; by default just the default branch is.
        merge_request: plan a merge request pipeline.
        fork: it comes from another project.
        scheduled: a schedule starts it.
        base: what the flake offered before; by default everything is new.
        held: cache name → store paths it holds; `{"*"}` means all. By default caches are empty.
        deployed: host → system path of its last deployment.
    """
    settings = _config(config)
    kind = _kind(branch, default_branch, protected=protected, merge_request=merge_request, fork=fork)
    trusted = trusted_caches(settings, kind)
    asked = {**trusted, **publish_caches(settings)}
    holdings = {name: set((held or {}).get(name, ())) for name in asked}

    def ask(paths: Iterable[str]) -> Availability:
        wanted = list(paths)
        answers: dict[str, dict[str, bool | None]] = {
            name: {path: path in some or "*" in some for path in wanted} for name, some in holdings.items()
        }
        return Availability(caches=answers, trusted=tuple(trusted))

    inventory = recording.inventory
    graph = {one.path: one for one in recording.derivations}
    status, removed = compare(inventory, base.inventory if base else None)
    situation = Situation(
        config=settings,
        inventory=inventory,
        changes=ChangeSet(
            base=Base(rev=BASE_REV if base else None, rule="test", reason="a recording"),
            head=Head(rev=HEAD_REV),
            status=status,
            removed=removed,
        ),
        availability=ask(path for output in inventory.outputs for path in output.wanted_paths),
        ref=Ref(
            name=branch or "v1",
            is_branch=branch is not None,
            default_branch=default_branch,
            merge_request=merge_request,
            kind=kind,
            scheduled=scheduled,
        ),
        deployed=dict(deployed or {}),
    )
    return make_plan(situation, load=lambda paths: {path: graph[path] for path in paths}, ask=ask)


def render_pipeline(recording: Recording, *, config: Config | str | Path | None = None, **push: Any) -> str:
    """The child pipeline of a push (see `plan_recording`) as YAML, verified, with store hashes masked.

    Where it is divided, all files follow each other, each under a comment with its name.

    Raises:
        VerificationError: the pipeline would not be sound.
    """
    settings = _config(config)
    planned = plan_recording(recording, config=settings, **push)
    merge_request = bool(push.get("merge_request"))
    kind = _kind(
        push.get("branch", "main"),
        push.get("default_branch", "main"),
        protected=push.get("protected"),
        merge_request=merge_request,
        fork=bool(push.get("fork")),
    )
    files = make_files(planned, settings, Surroundings(kind=kind, merge_request=merge_request)).files
    texts = [file.text if len(files) == 1 else f"# --- {file.name}\n{file.text}" for file in files]
    return mask_hashes("\n".join(texts))


def _kind(
    branch: str | None, default_branch: str, *, protected: bool | None, merge_request: bool, fork: bool
) -> PipelineClass:
    if fork:
        return PipelineClass.FORK
    if protected is None:
        protected = branch == default_branch
    return PipelineClass.PROTECTED if protected and not merge_request else PipelineClass.UNPROTECTED


def mask_hashes(text: str) -> str:
    """Replace the hashes of store paths, which change with every input, by a row of dots."""
    return re.sub(r"(/nix/store/)[0-9a-df-np-sv-z]{32}-", r"\1...-", text)


def _config(config: Config | str | Path | None) -> Config:
    if isinstance(config, Config):
        return config
    if config is None:
        return Config()
    return configuration.load(Path(config).parent, explicit=Path(config)).config


class PipelineSnapshot(SingleFileSnapshotExtension):
    """A syrupy extension: one readable YAML file per test, compared as text."""

    _write_mode = WriteMode.TEXT
    file_extension = "yml"
    _file_extension = "yml"

    def serialize(self, data: Any, **_: Any) -> str:
        """The text itself, or a pipeline as YAML."""
        return data if isinstance(data, str) else to_yaml(data)


def main(arguments: list[str]) -> int:
    """`python -m pipelinegen.testing FLAKE FILE`: write a recording."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m pipelinegen.testing FLAKE FILE\n")
        return 2
    flake, file = arguments
    try:
        save_recording(record(flake), file)
    except PipelinegenError as error:
        sys.stderr.write(f"error: {error.message}\n  why    {error.why}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
