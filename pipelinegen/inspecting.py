"""What a flake offers at one commit and another, from what is kept and remembered as far as possible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelinegen.changes.base_cache import BaseCache, Key
from pipelinegen.changes.ignore import matcher
from pipelinegen.changes.read import Repository
from pipelinegen.ci_env import CiEnv
from pipelinegen.config import Config
from pipelinegen.console import Console
from pipelinegen.errors import InterruptedRunError, MemoError, PipelinegenError
from pipelinegen.inventory.graph import read_derivations
from pipelinegen.inventory.model import Derivation, FlakeSource, Inventory
from pipelinegen.inventory.read import source_at
from pipelinegen.job_names import HANDOFF
from pipelinegen.memo.inspect import Inspection, Memo, inspect, open_memo, refine
from pipelinegen.memo.travel import fetch_memo, memo_to_leave
from pipelinegen.progress import Progress
from pipelinegen.values import digest


@dataclass
class Inspector:
    """Inspects commits of one repository.

    Attributes:
        config: which attributes, and limits.
        cache_directory: where inventories of base commits and the memo are kept.
        console: is told what goes on.
        memo: use and extend what is remembered of evaluations.
        verify: evaluate all of head, and compare it with what is remembered.
        env: what GitLab says: where its artifacts may tell what is remembered on the default branch.
        output: folder that the plan is written to, relative to the top of the repository.
        inspection: of head; null before.
    """

    config: Config
    cache_directory: Path
    console: Console
    memo: bool = True
    verify: bool = False
    env: CiEnv = field(default_factory=CiEnv)
    output: str = HANDOFF
    inspection: Inspection | None = None
    _head: FlakeSource | None = None
    _asked: bool = False
    _warned: set[str] = field(default_factory=set)

    def head(self, source: FlakeSource) -> Inventory:
        """What the flake offers now.

        Raises:
            MemoError: what is remembered is wrong; see `memo.inspect.inspect`.
            PipelinegenError: it cannot be evaluated as a whole.
        """
        self._head = source
        self.console.say(f"evaluating {source.reference} with Nix {source.nix_version}")
        self.inspection = self._inspect(source, verify=self.verify)
        if self.inspection.compared is not None:
            self.console.say(f"{self.inspection.compared} remembered results are what evaluation gives")
        return self.inspection.inventory

    def at(self, commit: str, source: FlakeSource, repository: Repository) -> Inventory | None:
        """What it offered at an earlier commit, kept, remembered or evaluated; null when it cannot be evaluated.

        Args:
            source: at head.
        """
        config = self.config
        cache = BaseCache(self.cache_directory)
        key = Key(
            commit=commit,
            subdirectory=source.subdirectory,
            nix_version=source.nix_version,
            options=digest(
                config.model_dump(
                    mode="json",
                    include={"include", "exclude", "evaluation"},
                    exclude={"evaluation": {"workers", "evaluator", "memo"}},  # they change only how long it takes
                )
            ),
        )
        # An impure evaluation depends on more than its key says.
        known = None if config.evaluation.impure else cache.get(key)
        if known is not None:
            return known
        try:
            # The folder says whether the clone is shallow; only a reference says that submodules belong to it.
            place = source if "submodules=" in source.reference else repository.top
            earlier = source_at(place, commit, source.subdirectory, config=config)
            self.console.say(f"evaluating {commit[:12]}")
            inspection = self._inspect(earlier)
            self._refine_head(inspection)
            inventory = inspection.inventory
        except (InterruptedRunError, MemoError):
            raise
        except PipelinegenError as error:
            self.console.warn(f"{commit[:12]} cannot be evaluated, so nothing is known of it: {error.message}")
            return None
        # One that was remembered costs little to be remembered again, and could be wrong.
        keep = not config.evaluation.impure and not inspection.recalled
        trouble = cache.put(key, inventory) if keep else None
        if trouble:
            self.console.warn(trouble)
        return inventory

    def load(self, paths: Iterable[str]) -> Mapping[str, Derivation]:
        """Read derivations. Those of head's outputs that were only remembered are evaluated first, and so checked.

        Raises:
            MemoError: one of them is another derivation now.
            ToolError: one is not there.
        """
        paths = list(paths)
        if self.inspection is not None and self._head is not None:
            missing = {path for path in paths if not Path(path).exists()}
            outputs = [one for one in self.inspection.inventory.outputs if one.drv_path in missing]
            again = [one.path for one in outputs if self.inspection.known(one.path)]
            if again:
                self.console.say(f"evaluating {len(again)} outputs whose derivations are not here")
                self._inspect(self._head, again=again)
        return read_derivations(paths)

    def memo_to_leave(self, source: FlakeSource) -> bytes | None:
        """What is left for pipelines of other branches among the artifacts; null where nothing is.

        Args:
            source: at head, whether it was evaluated or not.
        """
        data, trouble = memo_to_leave(self.env, self._open(source), source)
        if trouble:
            self.console.warn(trouble)
        return data

    def _refine_head(self, inspection: Inspection) -> None:
        """What has just been evaluated at another commit says more of head's outputs, too."""
        memo = self._open(self._head) if self._head is not None else None
        if memo is not None and self._head is not None and inspection.counts.evaluated:
            trouble = refine(self._head, memo)
            if trouble:
                self._warn_once(trouble)

    def _inspect(
        self, source: FlakeSource, *, verify: bool = False, again: Iterable[tuple[str, ...]] = ()
    ) -> Inspection:
        memo = self._open(source)
        with Progress(self.console, "evaluating", "attributes") as progress:
            return inspect(
                source,
                self.config,
                memo,
                on_progress=progress,
                on_warning=self._warn_once,
                verify=verify,
                again=tuple(again),
            )

    def _open(self, source: FlakeSource) -> Memo | None:
        if not self.memo:
            return None
        memo = open_memo(self.cache_directory, source, self.config, ignored=matcher(self.config.ignore_paths))
        fetched = fetch_memo(self.env, memo, self.output) if memo is not None and not self._asked else None
        self._asked = True
        if fetched is not None:
            (self.console.warn if fetched.trouble else self.console.say)(fetched.sentence)
        return memo

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self.console.warn(text)
