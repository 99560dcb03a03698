"""Pushing to an Attic server and asking it, beside what Nix itself does; with faults, and to the real server too.

    python -m benchmarks.pushing [--quick]

A store of its own holds closures of many small paths. In turn, after a warm-up, each is pushed by pipelinegen to the
test double of Attic's server, to one that fails now and then, and to a real one where there is one; and copied by Nix
to a folder and to a server that only stores files. Servers and pushes are processes of their own. After every push
the server itself is asked whether it has all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks import machine
from benchmarks.pushing_job import TOKEN
from benchmarks.pushing_store import Store
from benchmarks.put_server import put_server
from pipelinegen.cache.attic.protocol import store_hash
from tests.attic_server import Cut, Endpoint, Fault, Reply, Reset
from tests.attic_server.process import NO_TLS, ServerProcess, server_process
from tests.attic_server.real import RealAttic, real_attic, real_problem

CACHE = "benchmark"
JOBS = 4
ASKED_FOR = 2
"""Closures that questions are about. The real server, the slowest of all, gets no more than these."""

FILE_BYTES = 2048
SEED = 11
"""Decides which uploads fail, the same ones every time; no path is cut twice, which means a proxy that cuts."""

EACH = 0.01
FAULTS = (
    Fault(Reply(503, form="html"), endpoint=Endpoint.UPLOAD, probability=EACH),
    Fault(Reset("body", after=1000), endpoint=Endpoint.UPLOAD, probability=EACH),
    Fault(Reset("stored"), endpoint=Endpoint.UPLOAD, probability=EACH),
    Fault(Reply(429, form="html", retry_after="0"), endpoint=Endpoint.UPLOAD, probability=EACH),
    Fault(Cut(after=1000), endpoint=Endpoint.UPLOAD, probability=EACH),
)
"""Of a hundred uploads, five: a proxy's page, a reset on the way, one after all was stored, a request to come later,
and a body that arrives without its end."""

Taken = dict[str, Any]


@dataclass(frozen=True)
class Amount:
    """How much is measured: small paths in a closure, rounds, bytes of the large path."""

    paths: int
    rounds: int
    large: int


FULL = Amount(paths=5_000, rounds=3, large=2 << 30)
QUICK = Amount(paths=500, rounds=1, large=256 << 20)


@dataclass(frozen=True)
class Attic:
    """A cache on a server, as its owner knows it."""

    server: ServerProcess | RealAttic
    public_key: str

    @classmethod
    def create(cls, server: ServerProcess | RealAttic, store: Store) -> Attic:
        """A new one, for paths of this store."""
        content = {
            "keypair": "Generate",
            "is_public": False,
            "store_dir": str(store.directory),
            "priority": 41,
            "upstream_cache_key_names": [],
        }
        url = f"{server.url}_api/v1/cache-config/{CACHE}"
        with httpx.Client(headers=_bearer(server.token({CACHE: "r cc"})), verify=NO_TLS) as client:
            client.post(url, json=content).raise_for_status()
            return cls(server, str(client.get(url).raise_for_status().json()["public_key"]))

    @property
    def url(self) -> str:
        """What Nix substitutes from."""
        return f"{self.server.url}{CACHE}"

    def check(self, paths: Sequence[str]) -> None:
        """Ask whether all of `paths` are there.

        Raises:
            RuntimeError: some are not.
        """
        content = {"cache": CACHE, "store_path_hashes": [store_hash(path) for path in paths]}
        url = f"{self.server.url}_api/v1/get-missing-paths"
        headers = _bearer(self.server.token({CACHE: "r w"}))
        answer = httpx.post(url, json=content, headers=headers, timeout=60, verify=NO_TLS).raise_for_status()
        if lacking := answer.json()["missing_paths"]:
            raise RuntimeError(f"{len(lacking)} of {len(paths)} paths are not at {self.url}")


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Bench:
    """A store, servers, and what is done with them."""

    def __init__(self, folder: Path, amount: Amount, stack: contextlib.ExitStack) -> None:
        self.folder, self.amount = folder, amount
        self.store = Store(folder / "nix")
        self.store.folder.mkdir()
        stack.callback(self.store.remove)
        self.double = self._double(stack, "double")
        self.faulty = self._double(stack, "faulty", *FAULTS)
        self.real: Attic | None = None
        if real_problem() is None:
            self.real = Attic.create(stack.enter_context(real_attic(folder / "real")), self.store)
        self.files, self.put = folder / "files", folder / "put"
        self.put_url = stack.enter_context(put_server(self.put))

    def _double(self, stack: contextlib.ExitStack, name: str, *faults: Fault) -> Attic:
        server = stack.enter_context(server_process(self.folder / name, caches={}, seed=SEED))
        server.set_faults(*faults)
        return Attic.create(server, self.store)

    def measure(self) -> dict[str, Any]:
        """All of it."""
        names = ["warm-up", *(f"round-{number}" for number in range(self.amount.rounds))]
        counts = [self.amount.paths // 10, *[self.amount.paths] * self.amount.rounds]
        trees = [self.store.add_tree(*one, FILE_BYTES) for one in zip(names, counts, strict=True)]
        rounds = [self._round(tree, real=place <= ASKED_FOR) for place, tree in enumerate(trees)][1:]
        return {
            "paths": self.amount.paths,
            "bytes": rounds[0]["ours"]["bytes"],
            "jobs": JOBS,
            "rounds": self.amount.rounds,
            "faults": EACH * len(FAULTS),
            "ways": {way: _medians([one[way] for one in rounds if way in one]) for way in rounds[0]},
            "query": self._query(trees[1:][:ASKED_FOR]),
            "large": self._large(),
        }

    def _round(self, tree: Sequence[str], *, real: bool) -> dict[str, Taken]:
        ways: dict[str, Callable[[], Taken]] = {
            "ours": lambda: self._push(self.double, tree),
            "again": lambda: self._push(self.double, tree),
            "faults": lambda: self._push(self.faulty, tree),
            "http": lambda: self._copy(self.put_url, self.put, tree),
            "file": lambda: self._copy(f"file://{self.files}", self.files, tree),
        }
        if real and (server := self.real) is not None:
            ways["real"] = lambda: self._push(server, tree)
        return {way: run() for way, run in ways.items()}

    def _push(self, attic: Attic, paths: Sequence[str]) -> Taken:
        """The first of `paths`, whose closure the others are.

        Raises:
            RuntimeError: not all of them are there afterwards.
        """
        taken = self._job("push", attic, paths[:1], "r w")
        if taken["failed"] or taken["paths"] != len(paths):
            raise RuntimeError(f"{taken['failed']} of {taken['paths']} paths failed: {taken['why']}")
        attic.check(paths)
        taken["retries"] = taken["uploads"] - taken["sent"]
        return taken

    def _job(self, do: str, attic: Attic, paths: Sequence[str], rights: str) -> Taken:
        with self._memory() as memory:
            order = {"do": do, "url": attic.url, "public_key": attic.public_key, "paths": paths, "jobs": JOBS}
            file = memory / "order.json"
            file.write_text(json.dumps(order), "utf-8")
            extra = {TOKEN: attic.server.token({CACHE: rights}), "PYTHONPATH": str(machine.ROOT)}
            env = self.store.environment(memory) | extra
            used = machine.run([sys.executable, "-m", "benchmarks.pushing_job", file], env=env, shares=False)
        return {"seconds": used.seconds, "core_seconds": used.core_seconds, **json.loads(used.stdout)}

    def _copy(self, to: str, folder: Path, paths: Sequence[str]) -> Taken:
        """As `_push`, by Nix; what is sent `to` this address ends up in `folder`."""
        taken = self._nix("copy", "--to", f"{to}?compression=none", paths[0])
        there = sum((folder / f"{store_hash(path)}.narinfo").exists() for path in paths)
        if there != len(paths):
            raise RuntimeError(f"Nix copied {there} of {len(paths)} paths to {to}")
        return {**taken, "paths": there}

    def _nix(self, *arguments: str | Path) -> Taken:
        with self._memory() as memory:
            used = machine.run(["nix", *arguments], env=self.store.environment(memory), shares=False)
        return {
            "seconds": used.seconds,
            "core_seconds": used.core_seconds,
            "peak_mib": used.largest_mib,
            "stdout": used.stdout,
        }

    @contextlib.contextmanager
    def _memory(self) -> Iterator[Path]:
        """A folder for what Nix remembers of caches: nothing at first."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            yield Path(name)

    def _query(self, trees: Sequence[Sequence[str]]) -> dict[str, Any]:
        """Questions for all paths of `trees`, which are there, and for as many that are not."""
        paths = sorted(path for tree in trees for path in tree)
        absent = [self.store.path(f"absent-{place}") for place in range(len(paths))]
        servers = {"double": self.double, **({"real": self.real} if self.real else {})}
        measured = {}
        for name, attic in servers.items():
            rounds = []
            for _ in range(self.amount.rounds):
                bare = self._bare(attic, [tree[0] for tree in trees], len(paths))
                rounds.append(
                    {
                        "none": self._ask(attic, absent, "r w", held=0),
                        "all": self._ask(attic, paths, "r w", held=len(paths)),
                        "pull": (pull := self._ask(attic, paths, "r", held=len(paths))),
                        "bare": bare,
                        "ratio": pull / bare,
                    }
                )
            measured[name] = {key: machine.median(one[key] for one in rounds) for key in rounds[0]}
        return {"paths": len(paths), "servers": measured}

    def _ask(self, attic: Attic, paths: Sequence[str], rights: str, *, held: int) -> float:
        """Seconds until the answer: the process that asks runs anyway."""
        taken = self._job("query", attic, paths, rights)
        if (taken["held"], taken["absent"]) != (held, len(paths) - held):
            raise RuntimeError(f"{taken['held']} of {held} paths count as held: {taken['why']}")
        return float(taken["answered"])

    def _bare(self, attic: Attic, roots: Sequence[str], number: int) -> float:
        """Seconds in which Nix fetches all that it wants to know of closures."""
        netrc = self.folder / "netrc"
        netrc.write_text(f"machine 127.0.0.1 login benchmark password {attic.server.token({CACHE: 'r'})}\n", "utf-8")
        options: list[str | Path] = ["--option", "netrc-file", netrc, "--store", attic.url]
        taken = self._nix("path-info", "--recursive", "--json", *options, *roots)
        if len(json.loads(taken["stdout"])) != number:
            raise RuntimeError(f"Nix does not find {number} paths at {attic.url}")
        return float(taken["seconds"])

    def _large(self) -> dict[str, Any]:
        if shutil.disk_usage(self.folder).free < 4 * self.amount.large:
            return {"missing": "there is too little room on this disk"}
        path = self.store.add_sparse(self.amount.large)
        mib = self.amount.large / 2**20
        ours = self._push(self.double, [path])
        copied = self._copy(self.put_url, self.put, [path])
        return {
            "mib": round(mib),
            "ways": {
                "ours": {**_medians([ours]), "mib_per_second": round(mib / ours["send"])},
                "http": {**_medians([copied]), "mib_per_second": round(mib / copied["seconds"])},
            },
        }


_KEPT = ("seconds", "core_seconds", "send", "verify", "peak_mib", "uploads", "retries", "paths")


def _medians(taken: Sequence[Taken]) -> Mapping[str, float]:
    return {key: machine.median((one[key] for one in taken), 2) for key in _KEPT if key in taken[0]}


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Medians, in seconds and MiB; or `missing`, why there are none."""
    if shutil.which("nix") is None:
        return {"missing": "there is no Nix here"}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        return Bench(Path(name), QUICK if quick else FULL, stack).measure()


def main(arguments: Sequence[str]) -> int:
    """Print the measurement as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pushing", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    print(json.dumps(measure(quick=parser.parse_args(arguments).quick), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
