"""How inspecting and planning grow with the number of outputs, beside one plain `nix eval` of the same.

    python -m benchmarks.outputs [--quick]

For each number, a flake with so many packages that share one library is made in a new repository; nothing of them
takes work to evaluate, so what is seen is what an output costs besides. In turn, after a warm-up: `nix eval` over all
derivation paths, and `pipelinegen preview --offline`, without an evaluation cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine

OUTPUTS = (100, 1_000, 5_000)
REPETITIONS = 3

FLAKE = """
{ outputs = _:
  let
    make = name: text: derivation {
      inherit name; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo ${text} > $out" ];
    };
    library = make "library" "library";
    package = number: {
      name = "package-${toString number}";
      value = make "package-${toString number}" "${library} ${toString number}";
    };
  in { packages.x86_64-linux = builtins.listToAttrs (builtins.genList package NUMBER); };
}
"""

NIX = ("nix", "--extra-experimental-features", "nix-command flakes", "--option", "eval-cache", "false")
ALL = "packages: builtins.map (name: packages.${name}.drvPath) (builtins.attrNames packages)"


def measure(*, quick: bool = False) -> dict[str, Any]:
    """`rows`: medians per number of outputs, in seconds; or `missing`, why there are none."""
    if shutil.which("nix") is None:
        return {"missing": "there is no Nix here"}
    with tempfile.TemporaryDirectory() as name:
        numbers, repetitions = (OUTPUTS[:2], 1) if quick else (OUTPUTS, REPETITIONS)
        return {"rows": [_of(number, repetitions, Path(name)) for number in numbers]}


def _of(number: int, repetitions: int, scratch: Path) -> dict[str, Any]:
    folder = scratch / str(number)
    folder.mkdir()
    (folder / "flake.nix").write_text(FLAKE.replace("NUMBER", str(number)), "utf-8")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=b", "-c", "user.email=b@b", "commit", "-qm", "b"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "GITLAB"))}
    env = kept | {"XDG_CACHE_HOME": str(scratch / "cache"), "PYTHONPATH": str(machine.ROOT)}
    plain = [*NIX, "eval", "--json", ".#packages.x86_64-linux", "--apply", ALL]
    preview = [sys.executable, "-m", "pipelinegen", "-q", "preview", "--offline"]
    pairs = [
        tuple(machine.run(command, cwd=folder, env=env).seconds for command in (plain, preview))
        for _ in range(repetitions + 1)
    ][1:]
    return {
        "outputs": number,
        "nix_eval": machine.median(one for one, _ in pairs),
        "preview": machine.median(two for _, two in pairs),
        "ratio": machine.median((two / one for one, two in pairs), 2),
    }


def main(arguments: Sequence[str]) -> int:
    """Print the measurement as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outputs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    print(json.dumps(measure(quick=parser.parse_args(arguments).quick), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
