"""How inspecting and planning grow with the number of outputs, beside one plain `nix eval` of the same.

    python benchmarks/outputs.py [NUMBER …]        (100, 1000 and 5000 by default)

For each number, a flake with so many packages that share one library is made in a new repository. In one run,
after a warm-up: the seconds of `nix eval` over all derivation paths, of `pipelinegen preview` on the same flake,
and their ratio. Everything is new each time: no evaluation cache, no cache asked.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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

NIX = ["nix", "--extra-experimental-features", "nix-command flakes", "--option", "eval-cache", "false"]
ALL = "packages: builtins.map (name: packages.${name}.drvPath) (builtins.attrNames packages)"


def make_repository(folder: Path, number: int) -> None:
    folder.mkdir()
    (folder / "flake.nix").write_text(FLAKE.replace("NUMBER", str(number)), "utf-8")
    for arguments in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=b", "-c", "user.email=b@b", "commit", "-qm", "b"],
    ):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


def seconds(command: list[str], folder: Path) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Print a row per number."""
    os.environ.pop("CI", None)
    numbers = [int(text) for text in sys.argv[1:]] or [100, 1000, 5000]
    print("outputs   nix eval   preview   ratio   (medians of", REPETITIONS, "in turn, seconds)")
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_CACHE_HOME"] = str(Path(name) / "cache")
        for number in numbers:
            folder = Path(name) / str(number)
            make_repository(folder, number)
            plain = [*NIX, "eval", "--json", ".#packages.x86_64-linux", "--apply", ALL]
            preview = [sys.executable, "-m", "pipelinegen", "-q", "preview", "--offline"]
            pairs = [(seconds(plain, folder), seconds(preview, folder)) for _ in range(REPETITIONS + 1)][1:]
            one, two = (statistics.median(values) for values in zip(*pairs, strict=True))
            ratio = statistics.median(b / a for a, b in pairs)
            print(f"{number:7}   {one:8.2f}   {two:7.2f}   {ratio:5.2f}")


if __name__ == "__main__":
    main()
