"""A Nix store of its own for each test, small derivations, and signed caches."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelinegen.config import Config
from pipelinegen.config_caches import CacheConfig, Handoff, WriterClass
from pipelinegen.console import Console

NIX_CONFIG = """\
build-users-group =
sandbox = false
substituters =
experimental-features = nix-command flakes
max-jobs = 2
"""

DERIVATIONS = """
{ salt ? "1" }:
let
  make = name: script: inputs: derivation {
    inherit name salt inputs;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" script ];
  };
in rec {
  lib = make "lib" "echo building lib; echo lib > $out" [ ];
  app = make "app" "echo building app >&2; echo app $inputs > $out" [ lib ];
  broken = make "broken" "for n in 1 2 3; do echo line $n; done; echo last words; exit 3" [ lib ];
  above = make "above" "echo above > $out" [ broken ];
  forger = make "forger" (
    "printf 'x\\033[0Ksection_end:1:y\\r\\033[0K\\n'; echo section_start:1:z; "
    + "echo built /nix/store/zzz-forged.drv; exit 1"
  ) [ ];
  local = derivation {
    name = "local"; inherit salt;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" "echo local > $out" ];
    preferLocalBuild = true;
    allowSubstitutes = false;
  };
  top = make "top" "echo top $inputs > $out" [ local app ];
  two = derivation {
    name = "two"; inherit salt;
    system = builtins.currentSystem;
    outputs = [ "out" "dev" ];
    builder = "/bin/sh";
    args = [ "-c" "echo out > $out; echo dev > $dev" ];
  };
  # Builds as long as nobody has made a file beside the store.
  once = derivation {
    name = "once"; inherit salt;
    system = builtins.currentSystem;
    outputs = [ "out" "dev" ];
    builder = "/bin/sh";
    args = [ "-c" "[ ! -e $NIX_STORE.stop ] || exit 1; echo out > $out; echo dev > $dev" ];
  };
  usesDev = make "uses-dev" "echo $inputs > $out" [ once.dev ];
  # Three MiB that cannot be packed, made of what a shell alone can make.
  noise = derivation {
    name = "noise"; inherit salt;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" "exec 3< /dev/urandom; /usr/bin/head -c 3000000 <&3 > $out" ];
  };
  eternal = make "eternal" "echo started; while :; do :; done" [ ];
  foreign = derivation {
    name = "foreign"; system = "riscv-nowhere"; builder = "/bin/sh"; args = [ "-c" "echo > $out" ];
  };
  byContentOf = name: input: derivation {
    inherit name salt input;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" "echo content $input > $out" ];
    __contentAddressed = true;
    outputHashMode = "recursive";
    outputHashAlgo = "sha256";
  };
  byContent = byContentOf "by-content" lib;
  usesContent = make "uses-content" "echo uses $inputs > $out" [ byContent ];
  aboveContent = byContentOf "above-content" byContent;
  longest = make "longest" "n=0; while [ $n -lt 5000 ]; do echo line $n; n=$((n+1)); done; echo > $out" [ ];
}
"""


@dataclass(frozen=True)
class Store:
    """A private store and the derivations in it."""

    root: Path

    def instantiate(self, *names: str, salt: str = "1") -> dict[str, str]:
        """Name → derivation path."""
        file = self.root / "derivations.nix"
        file.write_text(DERIVATIONS)
        paths = {}
        for name in names:
            text = _output("nix-instantiate", str(file), "-A", name, "--argstr", "salt", salt)
            paths[name] = text.strip().partition("!")[0]
        return paths

    def output(self, drv_path: str, name: str = "out") -> str:
        """The path of a derivation's output, built or not."""
        return _output("nix-store", "--query", "--binding", name, drv_path).strip()

    def build(self, drv_path: str) -> str:
        """Build with plain Nix; the output path."""
        return _output("nix-store", "--realise", drv_path).strip()

    def valid(self, path: str) -> bool:
        """Whether the store holds `path`."""
        return subprocess.run(["nix-store", "--check-validity", path], capture_output=True, check=False).returncode == 0

    def empty(self) -> None:
        """Become the store of another machine: nothing is there, no derivation and no cached answer either."""
        for name in ("store", "state", "log", "cache"):
            _remove(self.root / name)

    def delete(self, *paths: str) -> None:
        """Take paths out of the store again."""
        _output("nix-store", "--delete", *paths)


def _remove(folder: Path) -> None:
    """Remove a folder; Nix makes store paths read-only."""
    for name, _, _ in os.walk(folder):
        Path(name).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, check=True, text=True).stdout


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    if shutil.which("nix-store") is None:
        pytest.skip("there is no Nix here")
    root = tmp_path / "nix"
    root.mkdir()
    monkeypatch.setenv("NIX_CONFIG", NIX_CONFIG)
    monkeypatch.setenv("NIX_STORE_DIR", str(root / "store"))
    monkeypatch.setenv("NIX_STATE_DIR", str(root / "state"))
    monkeypatch.setenv("NIX_LOG_DIR", str(root / "log"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "cache"))
    monkeypatch.setenv("NIX_PATH", "")
    monkeypatch.delenv("NIX_REMOTE", raising=False)
    yield Store(root)
    # Nix makes store paths read-only, which pytest's own clean-up trips over.
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(0o700)


@pytest.fixture
def log() -> io.StringIO:
    """What was said to people."""
    return io.StringIO()


@pytest.fixture
def console(log: io.StringIO) -> Console:
    return Console(log)


@dataclass(frozen=True)
class Caches:
    """A configuration with a signed handoff cache for each class and a publish cache."""

    config: Config
    folder: Path

    def holds(self, cache: str, path: str) -> bool:
        """Whether the cache has a narinfo of `path`, by looking at the files."""
        return (self.folder / cache / f"{Path(path).name[:32]}.narinfo").exists()


@pytest.fixture
def caches(tmp_path: Path, store: Store) -> Caches:
    folder = tmp_path / "caches"
    folder.mkdir()
    configs = {}
    for name, writers in (
        ("ours", WriterClass.PROTECTED),
        ("theirs", WriterClass.UNPROTECTED),
        ("public", WriterClass.PROTECTED),
    ):
        secret, public = folder / f"{name}.secret", folder / f"{name}.public"
        _output("nix-store", "--generate-binary-cache-key", f"{name}-1", str(secret), str(public))
        configs[name] = CacheConfig(
            url=f"file://{folder}/{name}",
            writers=writers,
            publish=name == "public",
            public_key=public.read_text(),
            secret_key_file=str(secret),
        )
    handoff = Handoff(mode="cache", protected="ours", unprotected="theirs", visible_timeout=3)
    return Caches(Config(caches=configs, handoff=handoff), folder)
