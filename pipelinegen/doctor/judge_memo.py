"""What facts about the memo of evaluations mean. Pure."""

from __future__ import annotations

from pipelinegen.config import Evaluation
from pipelinegen.doctor.model import Check, ok, skipped, warning
from pipelinegen.doctor.read_memo import MemoFacts, RecordingFacts

RECORDING = "recording of evaluation"
"""Name of the check whether this machine can say what evaluation reads."""


def judge_memo(found: MemoFacts, settings: Evaluation) -> Check:
    """Where evaluations are remembered, and how much that spared last time."""
    name = "evaluation memo"
    off = _off(settings)
    if off:
        return skipped(name, off)
    if found.trouble:
        hint = "name a folder that this user can write to in PIPELINEGEN_CACHE_DIR"
        return warning(name, f"{found.folder}: {found.trouble}, so every output is evaluated each time", hint)
    if not found.snapshots:
        return ok(name, f"{found.folder}: nothing is remembered yet")
    told = [f"{found.folder}: {_count(found.snapshots, 'snapshot')}, {_size(found.size)}"]
    if found.last is not None and found.last.outputs:
        told.append(f"at the last inspection {found.last.known} of {found.last.outputs} derivations were known")
    return ok(name, "; ".join(told))


def judge_recording(found: RecordingFacts, settings: Evaluation, folders: int | None) -> Check:
    """Whether it can be seen here what evaluation reads.

    Args:
        found: what the kernel says.
        settings: of the configuration.
        folders: how many the flake's tree has, each of which is watched; null where that is not known.
    """
    costs = "so every output is evaluated each time"
    off = _off(settings)
    if off:
        return skipped(RECORDING, off)
    if settings.evaluator != "nix":
        return skipped(RECORDING, f"{settings.evaluator} does not say what it reads, {costs}")
    if not found.linux:
        return skipped(RECORDING, f"only Linux says which files are opened, {costs}")
    if found.trouble:
        hint = (
            "the limits are fs.inotify.max_user_instances and max_user_watches, of the host where this is a container"
        )
        return warning(RECORDING, f"it cannot be seen which files are opened ({found.trouble}), {costs}", hint)
    if found.watches is not None and folders is not None and folders > found.watches:
        return warning(
            RECORDING,
            f"the flake has {folders} folders, and this user may watch {found.watches}, {costs}",
            f"on the host: sysctl fs.inotify.max_user_watches={2 * folders}",
        )
    of = f" of the flake's {_count(folders, 'folder')}" if folders is not None else ""
    limit = f" (this user may watch {found.watches})" if found.watches is not None else ""
    return ok(RECORDING, f"opened files{of} can be seen{limit}")


def _off(settings: Evaluation) -> str | None:
    if not settings.memo:
        return "switched off (evaluation.memo = false)"
    if settings.impure:
        return "an impure evaluation depends on more than the flake (evaluation.impure): nothing is remembered"
    return None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _size(number: int) -> str:
    return f"{number / (1 << 20):.1f} MiB" if number >= 1 << 20 else f"{-(-number // 1024)} KiB"
