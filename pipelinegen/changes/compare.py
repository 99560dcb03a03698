"""How the outputs of head differ from those of base, and when nobody needs to look. Pure functions."""

from __future__ import annotations

from pathlib import PurePosixPath

from pipelinegen.changes.ignore import irrelevant
from pipelinegen.changes.model import ChangeSet, Status
from pipelinegen.config import FILE_NAME, Config
from pipelinegen.inventory.model import FlakeOutput, Inventory

_Path = tuple[str, ...]


def nothing_before(head: Inventory) -> Inventory:
    """The inventory of the empty tree, to compare with where `Base.empty` is set."""
    return Inventory(source=head.source)


def compare(head: Inventory, base: Inventory | None) -> tuple[dict[str, Status], tuple[str, ...]]:
    """How each output of `head` compares with `base`, and what only `base` has.

    Outputs are compared by all their output paths: a change that only alters how something is made, not
    what, is none. Where a path is not known before the build, by derivation path. Outputs that must not
    be built are compared by why they must not.

    Args:
        base: null when it is not known; everything is then `unknown`, and nothing counts as removed.

    Returns:
        Attribute path → status for every output of `head`, in its order; and the sorted attribute paths
        of what is gone: outputs and evaluation failures of `base` that `head` has in no form, evaluating
        or failing.
    """
    if base is None:
        return {output.attr: Status.UNKNOWN for output in head.outputs}, ()
    before = {output.path: output for output in base.outputs}
    failed_before = {failure.path for failure in base.failures}
    status = {output.attr: _status(output, before.get(output.path), failed_before) for output in head.outputs}
    return status, _removed(head, base)


def _status(output: FlakeOutput, before: FlakeOutput | None, failed_before: set[_Path]) -> Status:
    # A failure may stand for a whole set: its members were perhaps there.
    if any(prefix in failed_before for prefix in _prefixes(output.path)):
        return Status.UNKNOWN
    if before is None:
        return Status.NEW
    now, then = _identity(output), _identity(before)
    if now is None or then is None:
        return Status.UNKNOWN
    return Status.UNCHANGED if now == then else Status.CHANGED


def _identity(output: FlakeOutput) -> tuple[object, ...] | None:
    """What an output is to whoever builds or uses it; null when that is not known."""
    if output.unavailable is not None:
        return ("unavailable", output.unavailable)
    if output.outputs and all(output.outputs.values()):
        return ("paths", tuple(sorted(output.outputs.items())))
    return ("derivation", output.drv_path) if output.drv_path else None


def _removed(head: Inventory, base: Inventory) -> tuple[str, ...]:
    there = {output.path for output in head.outputs}
    failing = {failure.path for failure in head.failures}
    known = {prefix for path in there | failing for prefix in _prefixes(path)}
    gone = [output.attr for output in base.outputs if not _is_there(output.path, there, failing)]
    # A failure of a whole set is mended when anything is below it now.
    gone += [
        failure.attr
        for failure in base.failures
        if failure.path not in known and not _is_there(failure.path, there, failing)
    ]
    return tuple(sorted(set(gone)))


def _is_there(path: _Path, there: set[_Path], failing: set[_Path]) -> bool:
    """Whether `path` evaluates, or fails by itself or in a set that fails as a whole."""
    return path in there or any(prefix in failing for prefix in _prefixes(path))


def _prefixes(path: _Path) -> list[_Path]:
    """`path` and every set that holds it."""
    return [path[:length] for length in range(1, len(path) + 1)]


def may_skip_evaluation(changes: ChangeSet, config: Config) -> str | None:
    """Why nothing needs to be evaluated; null when something does, which is the answer to every doubt.

    Nothing does when files changed, all of them are irrelevant, nothing is uncommitted, and the
    pipeline of the base is known to have passed. Pipelinegen's own configuration is never irrelevant.
    """
    files = changes.files
    if not files or changes.head.rev is None or changes.head.dirty:
        return None
    if changes.base.rev is None or changes.base.passed is not True:
        return None
    ours = {FILE_NAME, "pyproject.toml"}  # where `config_file.find_file` looks
    if any(PurePosixPath(file).name in ours for file in files) or not irrelevant(files, config.ignore_paths):
        return None
    count = "the only changed file is" if len(files) == 1 else f"all {len(files)} changed files are"
    return f"{count} irrelevant by ignore_paths, and the pipeline of {changes.base.rev[:12]} passed"
