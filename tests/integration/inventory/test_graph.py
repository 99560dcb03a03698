"""Derivations are read from the store as Nix wrote them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from pipelinegen.errors import ToolError
from pipelinegen.inventory.graph import read_derivation, read_derivations, read_graph

pytestmark = pytest.mark.nix

EXPRESSION = r"""
let
  drv = name: more: derivation ({ inherit name; system = "x86_64-linux"; builder = "/bin/sh"; } // more);
  lib = drv "lib" { outputs = [ "out" "dev" "doc" ]; };
  download = derivation {
    name = "source.tar.gz"; system = "builtin"; builder = "builtin:fetchurl"; url = "file:///nowhere";
    outputHashMode = "flat"; outputHashAlgo = "sha256";
    outputHash = "0000000000000000000000000000000000000000000000000000";
    preferLocalBuild = true;
  };
in {
  app = drv "app" {
    uses = [ lib.dev lib.out ]; src = download;
    requiredSystemFeatures = [ "kvm" "big-parallel" ];
    text = "(\"preferLocalBuild\",\"1\") \n\t\r \\ \" ${"$"}{x} ä 🚀 ],[(\"a\",\"b\")]";
    file = builtins.toFile "a-file" "content";
    args = [ "-c" "a \"quoted\" ) ] , argument" ];
    allowSubstitutes = false;
  };
  local = drv "local" { preferLocalBuild = true; allowSubstitutes = true; };
  structured = drv "structured" {
    __structuredAttrs = true; requiredSystemFeatures = [ "kvm" ]; preferLocalBuild = true; allowSubstitutes = false;
    text = "\"requiredSystemFeatures\":[\"no\"]";
  };
  structured-plain = drv "structured-plain" { __structuredAttrs = true; };
  inherit download;
}
"""


def instantiate(expression: str, attribute: str, *options: str) -> str:
    command = ["nix-instantiate", *options, "-E", expression, "-A", attribute]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip().partition("!")[0]


def query(*arguments: str) -> list[str]:
    return subprocess.run(
        ["nix-store", "--query", *arguments], capture_output=True, text=True, check=True
    ).stdout.split()


def test_a_derivation_is_read_as_nix_shows_it(nix_bin: Path) -> None:
    path = instantiate(EXPRESSION, "app")
    app = read_derivation(path)
    shown = json.loads(subprocess.run(["nix", "show-derivation", path], capture_output=True, check=True).stdout)
    shown = shown.get("derivations", shown)
    (told,) = shown.values()
    inputs = told.get("inputDrvs") or told["inputs"]["drvs"]
    names = {
        drv.rpartition("/")[2]: tuple(used["outputs"] if isinstance(used, dict) else used)
        for drv, used in inputs.items()
    }
    assert {drv.rpartition("/")[2]: used for drv, used in app.inputs.items()} == names
    assert app.outputs == {"out": query("--binding", "out", path)[0]}
    assert (app.name, app.system) == ("app", "x86_64-linux")
    assert app.features == ("big-parallel", "kvm")
    assert (app.prefer_local, app.allow_substitutes, app.fixed_output) == (False, False, False)


def test_settings_are_read_from_both_kinds_of_environment(nix_bin: Path) -> None:
    local = read_derivation(instantiate(EXPRESSION, "local"))
    assert (local.features, local.prefer_local, local.allow_substitutes) == ((), True, True)
    structured = read_derivation(instantiate(EXPRESSION, "structured"))
    assert (structured.features, structured.prefer_local, structured.allow_substitutes) == (("kvm",), True, False)
    plain = read_derivation(instantiate(EXPRESSION, "structured-plain"))
    assert (plain.features, plain.prefer_local, plain.allow_substitutes) == ((), False, True)


def test_a_download_is_a_fixed_output(nix_bin: Path) -> None:
    download = read_derivation(instantiate(EXPRESSION, "download"))
    assert download.fixed_output
    assert (download.name, download.system, download.prefer_local) == ("source.tar.gz", "builtin", True)
    assert str(download.outputs["out"]).endswith("-source.tar.gz")


def test_the_graph_holds_everything_that_is_needed(nix_bin: Path) -> None:
    app = instantiate(EXPRESSION, "app")
    graph = read_graph([app])
    assert set(graph) == {path for path in query("--requisites", app) if path.endswith(".drv")}
    (lib,) = (path for path in graph if path.endswith("-lib.drv"))
    assert sorted(graph[app].inputs[lib]) == ["dev", "out"]
    assert list(read_graph([app, app], stop=lambda _: True)) == [app]
    assert set(read_derivations([lib, lib])) == {lib}


CONTENT_ADDRESSED = """
let
  drv = name: more: derivation ({
    inherit name; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo > $out" ]; } // more);
  floating = { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; };
in rec {
  one = drv "one" floating;
  above = drv "above" { inherit one; };
  impure = drv "impure" { __impure = true; };
  made = drv "made.drv" (floating // { outputHashMode = "text"; });
  dynamic = drv "dynamic" { x = builtins.outputOf made.outPath "out"; y = one; plain = made; };
}
"""


def content_addressed(attribute: str, features: str) -> str:
    return instantiate(CONTENT_ADDRESSED, attribute, "--option", "extra-experimental-features", features)


def test_paths_that_are_not_known_before_the_build_are_null(nix_bin: Path) -> None:
    for name in ("one", "above"):
        derivation = read_derivation(content_addressed(name, "ca-derivations"))
        assert derivation.outputs == {"out": None}
        assert not derivation.fixed_output


def test_an_impure_derivation_is_no_fixed_output(nix_bin: Path) -> None:
    try:
        path = content_addressed("impure", "ca-derivations impure-derivations")
    except AssertionError as error:
        pytest.skip(f"this Nix has none: {str(error).splitlines()[0]}")
    impure = read_derivation(path)
    assert (impure.outputs, impure.fixed_output) == ({"out": None}, False)


def test_derivations_made_by_derivations_are_inputs_too(nix_bin: Path) -> None:
    try:
        path = content_addressed("dynamic", "ca-derivations dynamic-derivations")
    except AssertionError as error:
        pytest.skip(f"this Nix has none: {str(error).splitlines()[0]}")
    assert Path(path).read_text().startswith("DrvWithVersion")
    dynamic = read_derivation(path)
    used = {drv.rpartition("-")[2]: names for drv, names in dynamic.inputs.items()}
    assert used == {"one.drv": ("out",), "made.drv.drv": ("out",)}
    assert dynamic.outputs == {"out": None}


def test_a_missing_or_damaged_derivation_is_a_clear_error(nix_bin: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="not in the local store"):
        read_derivation(f"{tmp_path}/00000000000000000000000000000000-x.drv")
    text = Path(instantiate(EXPRESSION, "app")).read_text()
    damaged = tmp_path / "00000000000000000000000000000000-x.drv"
    for length in range(0, len(text) - 1, 7):
        damaged.write_text(text[:length])
        with pytest.raises(ToolError, match="cannot be read"):
            read_derivation(str(damaged))
