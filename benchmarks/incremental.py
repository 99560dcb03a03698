"""Inspecting a fleet after a commit, with what earlier inspections read in the memo, beside evaluating all of it.

    python -m benchmarks.incremental [--quick] [--hosts N] [--rounds N] [--json FILE]

For each number of hosts a repository is made (`incremental_fleet`) with two commits, the second of which alters
documentation. A *round* begins with nothing: `pipelinegen preview` of the second commit with the first as its base
fills the memo, and the same with `--no-memo` shows what recording costs. Then each further commit is inspected, with
the memo as that preview left it; beside it, all hosts are evaluated without a memo, and one host alone. Each of these
processes has a new, empty store, as in a CI job, and no evaluation cache; only where `preview` itself is measured
after a commit it has the store that the first one left, as on a laptop. Each answer of the memo is checked.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.empty_store import EmptyStore, remove
from benchmarks.incremental_fleet import DOCUMENTATION, ONE_HOST, Change, Files, Fleet, only, second

TIMES = 1.5
PLUS_SECONDS = 1.0
"""What inspecting after a change of one host may take: so many times one host's evaluation, and so much more."""

BRIEF = (DOCUMENTATION, ONE_HOST)
"""Commits that are measured several times, also with `preview`."""

Used = dict[str, float]


@dataclass(frozen=True)
class Amount:
    """How much is measured.

    Attributes:
        rounds: number of hosts → rounds.
        tries: how often in a round what does not take long is measured; the median counts.
    """

    rounds: Mapping[int, int]
    tries: int


FULL = Amount({20: 3, 100: 1, 300: 1}, tries=3)
QUICK = Amount({6: 1}, tries=1)

MOST_HOSTS = 100
"""With larger fleets, `Change.small_fleets_only` counts."""


class NotRecordedError(Exception):
    """Nothing can be recorded on this machine, and why."""


class Bench:
    """A repository with its commits, and a memo."""

    def __init__(self, folder: Path, hosts: int, tries: int) -> None:
        self._tries = tries
        self._flake = folder / "flake"
        self._input = folder / "input"
        self._cache = folder / "cache"
        self._filled = folder / "filled"
        self._kept = folder / "kept"
        self._store = EmptyStore(folder)
        self.fleet = Fleet(hosts, str(self._input))
        self._commit(self._input, {"version": "1"}, "first")
        files = self.fleet.files()
        self._commit(self._flake, files, "first", lock=True)
        self._commit(self._flake, second(files), "second")
        for change in self.fleet.changes():
            self._git(self._flake, "checkout", "-q", "-b", _branch(change), "second")
            if change.lock:
                self._commit(self._input, {"version": "2"}, "second")
            self._commit(self._flake, change.write, lock=change.lock)
        self._git(self._flake, "checkout", "-q", "second")

    @property
    def files(self) -> int:
        """How many the repository has."""
        return len(self._git(self._flake, "ls-files").splitlines())

    def round(self, *, memo_first: bool) -> dict[str, Used]:
        """Everything once: way → what it took.

        Raises:
            RuntimeError: a process failed, or the memo's answer is wrong.
            NotRecordedError: there is no memo on this machine.
        """
        found: dict[str, Used] = {}
        for memo in (memo_first, not memo_first):
            found[f"cold {memo}"] = self._cold(memo=memo)
        found["memo"] = {"kib": _size(self._filled) / 1024}
        self._git(self._flake, "checkout", "-q", "second")
        before, _ = self._inspect(memo=True)
        changes = {change.name: change for change in self.fleet.changes()}
        self._git(self._flake, "checkout", "-q", _branch(changes[ONE_HOST]))
        after, found["all"] = self._inspect(memo=False)
        self._check(changes[ONE_HOST], before, after)
        found["one"] = self._median(lambda: self._inspect(memo=False, exclude=only(self.fleet.changed_host))[1])
        found["nix eval"] = self._median(self._nix_eval)
        for change in measured_changes(self.fleet):
            self._git(self._flake, "checkout", "-q", _branch(change))
            found[change.name] = self._after(change, before)
        for name in BRIEF:
            self._git(self._flake, "checkout", "-q", _branch(changes[name]))
            found[f"preview {name}"] = self._median(self._preview_after)
        return found

    def remove_stores(self) -> None:
        """Throw stores away, whose files are read-only."""
        self._store.remove()
        remove(self._kept)

    def _cold(self, *, memo: bool) -> Used:
        self._git(self._flake, "checkout", "-q", "second")
        shutil.rmtree(self._cache, ignore_errors=True)
        used = self._preview("first", memo=memo)
        if memo:
            _copy(self._cache, self._filled)
            self._store.keep(self._kept)
        return used

    def _preview_after(self) -> Used:
        _copy(self._filled, self._cache)
        return self._preview("second", memo=True, kept=self._kept)

    def _after(self, change: Change, before: Mapping[str, str]) -> Used:
        def once() -> Used:
            answer, used = self._inspect(memo=True)
            self._check(change, before, answer)
            return used

        return self._median(once) if change.name in BRIEF else once()

    def _check(self, change: Change, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        """Raise an error unless a commit altered exactly the hosts that it should."""
        altered = {name for name, path in after.items() if before.get(name) != path}
        if altered != change.hosts or not set(before) <= set(after):
            raise RuntimeError(f"{change.name}: {len(altered)} hosts have another derivation, not {len(change.hosts)}")

    def _inspect(self, *, memo: bool, exclude: Sequence[str] = ()) -> tuple[dict[str, str], Used]:
        """Host → derivation, and what it took, with the memo as the first preview left it."""
        _copy(self._filled, self._cache)
        folder = str(self._cache) if memo else ""
        words = (sys.executable, "-m", "benchmarks.incremental_job", folder, *exclude)
        text, used = self._store.run(*words, cwd=self._flake)
        found = json.loads(text)
        if found["not_recorded"]:
            raise NotRecordedError(found["not_recorded"])
        return found["derivations"], used | {"evaluated": found["evaluated"]} | found["steps"]

    def _preview(self, base: str, *, memo: bool, kept: Path | None = None) -> Used:
        words = ["--quiet", "preview", "--offline", "--base", base, *([] if memo else ["--no-memo"])]
        command = (sys.executable, "-m", "pipelinegen", *words)
        env = {"PIPELINEGEN_CACHE_DIR": str(self._cache)}
        return self._store.run(*command, cwd=self._flake, kept=kept, env=env)[1]

    def _nix_eval(self) -> Used:
        attribute = f".#nixosConfigurations.{self.fleet.changed_host}.config.system.build.toplevel.drvPath"
        return self._store.run("nix", "eval", "--raw", attribute, cwd=self._flake)[1]

    def _median(self, measure: Callable[[], Used]) -> Used:
        return _medians([measure() for _ in range(self._tries)])

    def _commit(self, folder: Path, files: Files, branch: str | None = None, *, lock: bool = False) -> None:
        """Write files and commit them, to a new branch where one is named."""
        if not folder.exists():
            folder.mkdir()
            self._git(folder, "init", "-q")
        if branch:
            self._git(folder, "checkout", "-q", "-b", branch)
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text, "utf-8")
        self._git(folder, "add", ".")
        if lock:
            (folder / "flake.lock").unlink(missing_ok=True)
            self._store.run("nix", "flake", "lock", cwd=folder)
            self._git(folder, "add", ".")
        self._git(folder, "-c", "user.name=b", "-c", "user.email=b@b", "commit", "-qm", branch or "change")

    def _git(self, folder: Path, *words: str) -> str:
        done = subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True)
        return done.stdout


def measured_changes(fleet: Fleet) -> list[Change]:
    """The commits to a fleet that are measured."""
    return [change for change in fleet.changes() if len(fleet.names) <= MOST_HOSTS or not change.small_fleets_only]


def _branch(change: Change) -> str:
    return change.name.replace(" ", "-")


def _copy(folder: Path, to: Path) -> None:
    """With the times of the files, which say what is newest."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(folder, to)


def _size(folder: Path) -> int:
    """Bytes of all files of the memo in a cache directory."""
    return sum(file.stat().st_size for file in (folder / "memo").rglob("*") if file.is_file())


def _medians(some: Sequence[Used]) -> Used:
    return {key: machine.median(one[key] for one in some) for key in some[0]}


def measure(*, quick: bool = False, amount: Amount | None = None) -> dict[str, Any]:
    """`fleets`: a record per number of hosts (see `summary`); or `missing`, why there are none.

    Raises:
        RuntimeError: a process failed, or the memo's answer is wrong.
    """
    if shutil.which("nix") is None:
        return {"missing": "there is no Nix here"}
    amount = amount or (QUICK if quick else FULL)
    fleets = []
    for hosts, rounds in amount.rounds.items():
        with tempfile.TemporaryDirectory(prefix="incremental-") as scratch:
            bench = Bench(Path(scratch), hosts, amount.tries)
            try:
                measured = [bench.round(memo_first=number % 2 == 0) for number in range(rounds)]
            except NotRecordedError as error:
                return {"missing": str(error)}
            finally:
                bench.remove_stores()
            fleets.append({"hosts": hosts, "files": bench.files, **summary(bench.fleet, measured)})
    return {"times": TIMES, "plus": PLUS_SECONDS, "fleets": fleets}


def summary(fleet: Fleet, rounds: Sequence[Mapping[str, Used]]) -> dict[str, Any]:
    """Medians of the rounds, and of ratios that are taken within each.

    Returns:
        `ways`: way → what it took; `changes`: a record per commit, whose `of_all` is its share of evaluating all;
        `recording`: what a first inspection takes with the memo, as a multiple of what it takes without, by the clock
        and by the cores; `bar`: seconds that a change of one host may take.
    """
    ways = {way: _medians([one[way] for one in rounds]) for way in rounds[0]}
    changes = [
        {
            "name": change.name,
            "alters": change.alters,
            **ways[change.name],
            "of_all": machine.median(one[change.name]["seconds"] / one["all"]["seconds"] for one in rounds),
        }
        for change in measured_changes(fleet)
    ]
    recording = {
        key: machine.median(one["cold True"][key] / one["cold False"][key] for one in rounds)
        for key in ("seconds", "cpu_seconds")
    }
    names = {change["name"] for change in changes}
    return {
        "rounds": len(rounds),
        "ways": {way: used for way, used in ways.items() if way not in names},
        "changes": changes,
        "recording": recording,
        "bar": machine.median(TIMES * one["one"]["seconds"] + PLUS_SECONDS for one in rounds),
    }


def table(result: Mapping[str, Any]) -> str:
    """What was measured, for people."""
    if "missing" in result:
        return f"not measured: {result['missing']}"
    lines = []
    for fleet in result["fleets"]:
        lines.append(f"{fleet['hosts']} hosts, {fleet['files']} files, {fleet['rounds']} rounds")
        for way, used in fleet["ways"].items():
            lines.append(f"  {way:<34} {_shown(used)}")
        for change in fleet["changes"]:
            used = {key: value for key, value in change.items() if isinstance(value, int | float)}
            lines.append(f"  {change['name']:<34} {_shown(used)}")
        lines.append(f"  recording {_shown(fleet['recording'])}; bar {fleet['bar']:.2f} s")
    return "\n".join(lines)


def _shown(used: Mapping[str, float]) -> str:
    return " ".join(f"{key} {value:g}" for key, value in used.items())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small fleet, once")
    parser.add_argument("--hosts", type=int, action="append", metavar="N", help="only a fleet of N hosts")
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="of fleets that are named (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    arguments = parser.parse_args()
    named = Amount(dict.fromkeys(arguments.hosts, arguments.rounds), FULL.tries) if arguments.hosts else None
    result = measure(quick=arguments.quick, amount=named)
    print(table(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
