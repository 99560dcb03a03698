"""The stand-in for NixOS keeps the rules of modules that our tests rest on; nixpkgs' own library agrees."""

from __future__ import annotations

import pytest

from tests.integration.nix.modules import EvaluationError, Nixos, evaluate

pytestmark = pytest.mark.nix

OPTIONS = """
  ({ lib, config, ... }: let inherit (lib) mkOption types; in {
    options = {
      on = lib.mkEnableOption "it";
      number = mkOption { type = types.int; default = 3; };
      words = mkOption { type = types.listOf types.str; default = [ "default" ]; };
      text = mkOption { type = types.lines; default = ""; };
      maybe = mkOption { type = types.nullOr types.str; default = null; };
      choice = mkOption { type = types.either types.int (types.enum [ "few" "many" ]); default = "few"; };
      things = mkOption {
        default = { };
        type = types.attrsOf (types.submodule ({ name, config, ... }: {
          options = {
            size = mkOption { type = types.ints.positive; default = 1; };
            label = mkOption { type = types.str; default = name; };
            long = mkOption { type = types.str; default = "${config.label}!"; };
          };
        }));
      };
    };
    config = lib.mkIf config.on { words = [ "on" ]; things.made.size = lib.mkDefault 7; };
  })
"""


def result(nixos: Nixos, *modules: str) -> object:
    placed = " ".join(f"({{ lib, config, ... }}: {module})" for module in modules)
    return evaluate(
        nixos.programs,
        f"(({nixos.expression}).lib.evalModules {{ modules = [ {OPTIONS} {placed} ]; }}).config"
        " // { _module = null; }",
    )


DEFAULTS: dict[str, object] = {
    "_module": None,
    "choice": "few",
    "maybe": None,
    "number": 3,
    "on": False,
    "text": "",
    "things": {},
    "words": ["default"],
}


@pytest.mark.parametrize(
    ("modules", "differs"),
    [
        pytest.param([], {}, id="nothing is set"),
        pytest.param(["{ number = 4; }"], {"number": 4}, id="a value"),
        pytest.param(["{ number = 4; }", "{ number = lib.mkForce 5; }"], {"number": 5}, id="mkForce wins"),
        pytest.param(["{ number = 4; }", "{ number = lib.mkDefault 5; }"], {"number": 4}, id="mkDefault loses"),
        pytest.param(["{ number = lib.mkIf config.on 4; }"], {}, id="a condition that does not hold"),
        pytest.param(
            ['{ words = [ "b" ]; }', '{ words = lib.mkBefore [ "a" ]; }', '{ words = lib.mkAfter [ "c" ]; }'],
            {"words": ["a", "b", "c"]},
            id="lists are joined in order",
        ),
        pytest.param(
            ['{ text = "a"; }', '{ text = "b"; }'], {"text": "b\na"}, id="lines are joined, the last module first"
        ),
        pytest.param(
            ["{ on = true; }"],
            {"on": True, "words": ["on"], "things": {"made": {"size": 7, "label": "made", "long": "made!"}}},
            id="mkIf over a whole configuration",
        ),
        pytest.param(
            ["{ things = lib.mkMerge [ { a.size = 2; } (lib.mkIf false { b.size = 3; }) { a.label = ''A''; } ]; }"],
            {"things": {"a": {"size": 2, "label": "A", "long": "A!"}}},
            id="mkMerge in a set of submodules",
        ),
        pytest.param(["{ choice = 7; }"], {"choice": 7}, id="one type or another"),
        pytest.param(["{ maybe = ''x''; }", "{ maybe = ''x''; }"], {"maybe": "x"}, id="the same twice"),
        pytest.param(["{ imports = [ { number = 9; } ]; }"], {"number": 9}, id="imports"),
    ],
)
def test_definitions_become_one_value(nixos: Nixos, modules: list[str], differs: dict[str, object]) -> None:
    assert result(nixos, *modules) == {**DEFAULTS, **differs}


@pytest.mark.parametrize(
    "modules",
    [
        pytest.param(["{ nobody = 1; }"], id="an option that nobody declares"),
        pytest.param(["{ things.a.nobody = 1; }"], id="an option that the submodule does not declare"),
        pytest.param(["{ number = ''4''; }"], id="another type"),
        pytest.param(["{ things.a.size = 0; }"], id="a number out of range"),
        pytest.param(["{ choice = ''none''; }"], id="a word that is not among them"),
        pytest.param(["{ number = 4; }", "{ number = 5; }"], id="two values of equal strength"),
        pytest.param(["{ words = [ 1 ]; }"], id="a list of something else"),
        pytest.param(["{ config = { }; number = 1; }"], id="a setting beside config"),
    ],
)
def test_what_nixos_refuses_is_refused(nixos: Nixos, modules: list[str]) -> None:
    with pytest.raises(EvaluationError):
        result(nixos, *modules)
