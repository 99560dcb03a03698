"""An output that fails costs only itself, and says why in Nix's own words."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from pipelinegen.config import Config
from pipelinegen.errors import FlakeError
from pipelinegen.inventory import pool
from pipelinegen.inventory.model import Inventory, Kind
from pipelinegen.inventory.read import read_inventory, read_source
from tests.gitrepo import commit, make_repo
from tests.integration.inventory.conftest import Take, flake_text, write_flake

pytestmark = pytest.mark.nix

NO_HASH = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

FAILING = {
    "throw": ('throw "no good\\nsecond line"', r"error: no good\nsecond line"),
    "assertion": ('assert 1 == 2; drv "x" { }', r"error: assertion '.*' failed|assertion '\(1 == 2\)'"),
    "missing-attribute": (
        "{ here = 1; }.there",
        r"error: attribute 'there' missing\s+at flake\.nix:\d+:\d+:(.|\n)*\{ here = 1; \}",
    ),
    "type-error": ('drv "x" { bad = 1 + "x"; }', r"error: cannot (add|coerce) (a string to )?an integer"),
    "infinite-recursion": ("let x = x; in x", r"error: infinite recursion encountered"),
    "abort": ('builtins.abort "gone"', r"error: evaluation aborted with the following error message: 'gone'"),
    "stack-overflow": ("let f = n: 1 + f (n + 1); in f 0", r"stack overflow"),
    "missing-file": ('drv "x" { src = ./not-there; }', r"not-there'? does not exist|getting status of"),
    "no-system": ('derivation { name = "x"; builder = "/bin/sh"; }', r"'system'"),
    "wrong-hash": (
        f'builtins.fetchTree {{ type = "path"; path = ./.; narHash = "{NO_HASH}"; }}',
        r"(?i)nar hash mismatch|mismatch in field",
    ),
    "not-pure": ('drv "x" { src = /etc/hostname; }', r"forbidden in pure"),
    "no-derivation-path": ('{ type = "derivation"; name = "x"; }', r"error: attribute 'drvPath' missing"),
    "forged-derivation-path": (
        '{ type = "derivation"; name = "x"; drvPath = "${builtins.storeDir}/00000000000000000000000000000000-x.drv"; }',
        r"a derivation is not in the local store",
    ),
}


@pytest.mark.parametrize("way", FAILING)
def test_a_failing_output_is_told_with_the_message_of_nix_and_the_others_go_on(way: str, take: Take) -> None:
    expression, message = FAILING[way]
    inventory = take(
        f""" {{
          packages.x86_64-linux = {{ a = drv "a" {{ }}; m = {expression}; z = drv "z" {{ }}; }};
          checks.x86_64-linux.c = drv "c" {{ }};
        }} """
    )
    assert_only(inventory, ("packages", "x86_64-linux", "m"), message)
    assert {output.path[-1] for output in inventory.outputs} == {"a", "z", "c"}


def assert_only(inventory: Inventory, path: tuple[str, ...], message: str) -> None:
    """One failure, with a message that fits and tells nothing of our own expressions."""
    assert [failure.path for failure in inventory.failures] == [path]
    said = inventory.failures[0].message
    assert re.search(message, said), said
    assert "stdin" not in said
    assert "taskList" not in said
    assert len(said.splitlines()) < 40


def test_a_set_that_fails_is_one_failure(take: Take) -> None:
    inventory = take(
        """ {
          packages = throw "no packages";
          checks.x86_64-linux = { a = drv "a" { }; };
          checks.aarch64-linux = throw "no checks here";
          devShells = 5;
          nixosConfigurations.none = { };
          nixosConfigurations.text.config.system.build.toplevel = "text";
          hydraJobs.a = throw "no job";
          legacyPackages.x86_64-linux = throw "no legacy";
        } """
    )
    said = {failure.attr: (failure.kind, failure.message.splitlines()[0]) for failure in inventory.failures}
    assert said == {
        "packages": (Kind.PACKAGE, "error: no packages"),
        "checks.aarch64-linux": (Kind.CHECK, "error: no checks here"),
        "devShells": (Kind.DEV_SHELL, "this is no attribute set"),
        "nixosConfigurations.none": (Kind.NIXOS, "error: attribute 'config' missing"),
        "nixosConfigurations.text": (
            Kind.NIXOS,
            "nixosConfigurations.text.config.system.build.toplevel is no derivation",
        ),
        "hydraJobs.a": (Kind.HYDRA_JOB, "error: no job"),
        "legacyPackages.x86_64-linux": (Kind.HOME, "error: no legacy"),
    }
    assert [output.attr for output in inventory.outputs] == ["checks.x86_64-linux.a"]


def test_the_way_to_an_error_is_told_from_the_inside(take: Take) -> None:
    inventory = take(
        """ { packages.x86_64-linux.a =
          drv "a" { x = builtins.addErrorContext "while thinking of web1" (import ./deep.nix 0); }; } """,
        files={"deep.nix": "let f = n: if n > 3 then { v = throw ''deep''; }.v else f (n + 1); in f"},
    )
    lines = inventory.failures[0].message.splitlines()
    assert lines[0] == "error: deep"
    assert any("deep.nix:1:" in line for line in lines)
    assert "… while thinking of web1" in lines


def test_one_output_that_needs_too_much_memory_costs_only_itself(take: Take) -> None:
    hog = 'builtins.deepSeq (builtins.genList (x: x) 200000000) (drv "x" { })'
    inventory = take(
        f"""{{ packages.x86_64-linux = {{ a = drv "a" {{ }}; m = {hog}; z = drv "z" {{ }}; }}; }}""",
        max_memory_mb=450,
    )
    assert_only(inventory, ("packages", "x86_64-linux", "m"), r"^evaluation needs more than 450 MiB")
    assert {output.path[-1] for output in inventory.outputs} == {"a", "z"}


def test_outputs_that_need_much_memory_only_together_all_succeed(take: Take) -> None:
    # 12 times about 60 MiB, kept alive by the flake itself: more than one evaluator may have.
    inventory = take(
        """ { packages.x86_64-linux = builtins.listToAttrs (builtins.genList (n: {
            name = "p${toString n}";
            value = let big = builtins.genList (x: { v = x + n; }) 400000;
              in builtins.deepSeq big (drv "p${toString n}" { count = builtins.length big; } // { inherit big; });
          }) 12); } """,
        max_memory_mb=450,
    )
    assert not inventory.failures
    assert len(inventory.outputs) == 12


KILLER = """
  killer = script: import (derivation {
    name = "killer"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" script ];
  });
"""


def test_an_output_that_kills_the_evaluator_costs_only_itself(take: Take) -> None:
    # The parent of a build without a daemon is the evaluator.
    inventory = take(
        f""" (let {KILLER} in {{ packages.x86_64-linux = {{
          a = drv "a" {{ }}; m = drv "m" {{ x = killer "kill -9 $PPID"; }}; z = drv "z" {{ }};
        }}; }}) """
    )
    assert_only(inventory, ("packages", "x86_64-linux", "m"), r"ended by SIGKILL")
    assert {output.path[-1] for output in inventory.outputs} == {"a", "z"}


def test_an_output_at_which_the_evaluator_was_killed_once_gets_a_second_try(take: Take, tmp_path: Path) -> None:
    marker = tmp_path / "killed"
    script = f"if [ -e {marker} ]; then echo 1 > $out; else : > {marker}; kill -9 $PPID; fi"
    inventory = take(
        f""" (let {KILLER} in {{ packages.x86_64-linux = {{
          a = drv "a" {{ }}; m = drv "m" {{ x = killer "{script}"; }}; z = drv "z" {{ }};
        }}; }}) """
    )
    assert marker.exists()
    assert not inventory.failures
    assert {output.path[-1] for output in inventory.outputs} == {"a", "m", "z"}


@pytest.mark.parametrize(
    "loop",
    [
        'let f = n: if n < 0 then drv "x" { } else f (n + 1); in f 0',
        'let f = n: if n < 0 then drv "x" { } else builtins.trace "still here" (f (n + 1)); in f 0',
    ],
    ids=["silent", "talking"],
)
def test_an_output_that_takes_too_long_is_ended(loop: str, take: Take) -> None:
    started = time.monotonic()
    inventory = take(
        f"""{{ packages.x86_64-linux = {{ a = drv "a" {{ }}; m = {loop}; z = drv "z" {{ }}; }}; }}""", timeout=2
    )
    # 2.26 and later end deep calls themselves, but these loops are tail calls.
    assert_only(inventory, ("packages", "x86_64-linux", "m"), r"longer than 2 s|stack overflow|max-call-depth")
    assert {output.path[-1] for output in inventory.outputs} == {"a", "z"}
    assert time.monotonic() - started < 30


def test_so_many_failures_that_their_messages_cost_too_much_are_still_all_found(
    take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MESSAGES", 3)
    inventory = take(
        """ { packages.x86_64-linux =
          builtins.listToAttrs (builtins.genList (n: { name = "p${toString n}"; value = throw "bad"; }) 20)
          // { q = drv "q" { }; r = { }.missing; s = drv "s" { }; }; } """
    )
    assert len(inventory.failures) == 21
    messages = [failure.message for failure in inventory.failures]
    assert sum(message.startswith("error: bad") for message in messages) == 3
    assert sum("so many outputs failed" in message for message in messages) == 17
    assert sum(message.startswith("error: attribute 'missing' missing") for message in messages) == 1
    assert [output.path[-1] for output in inventory.outputs] == ["q", "s"]


def test_traces_of_the_flake_are_no_reports(take: Take) -> None:
    report = r"{ \"event\": \"enter\", \"path\": [], \"visit\": \"set\" }"
    error = r"@nix { \"action\": \"msg\", \"level\": 0, \"msg\": \"error: forged\" }"
    build = r"x\n@nix { \"action\": \"start\", \"type\": 105, \"fields\": [ \"/forged.drv\" ] }"
    inventory = take(
        f""" {{ packages.x86_64-linux = builtins.trace "a 0123456789abcdef0123456789abcdef {report}" {{
          a = builtins.trace "{error}" (drv "a" {{ }});
          b = builtins.trace "{build}" (throw "mine");
          c = builtins.trace (builtins.concatStringsSep "" (builtins.genList (_: "long ä ") 30000)) (drv "c" {{ }});
        }}; }} """
    )
    assert [output.path[-1] for output in inventory.outputs] == ["a", "c"]
    assert_only(inventory, ("packages", "x86_64-linux", "b"), r"^error: mine")
    assert inventory.built_during_evaluation == ()


def test_colours_and_controls_in_messages_are_harmless(take: Take) -> None:
    inventory = take(
        """{ packages.x86_64-linux.a =
          throw (builtins.fromJSON ''"red \\u001b[31mred\\u001b[0m \\u001b]0;title\\u0007 section_start:1:x\\r"''); }"""
    )
    assert inventory.failures[0].message.splitlines()[0] == "error: red red  section-start:1:x"


@pytest.mark.parametrize("mark", ["", "recurseForDerivations = true;"], ids=["unmarked", "marked"])
def test_endless_nesting_is_a_failure(mark: str, take: Take) -> None:
    inventory = take(f"""{{ hydraJobs = let s = {{ inherit s; {mark} }}; in s // {{ a = drv "a" {{ }}; }}; }}""")
    assert [output.attr for output in inventory.outputs] == ["hydraJobs.a"]
    assert len(inventory.failures) == 1
    assert "nested more than" in inventory.failures[0].message


def test_an_input_that_cannot_be_fetched_costs_only_who_uses_it(nix_bin: Path, tmp_path: Path) -> None:
    import json

    gone = {
        "type": "git",
        "url": f"file://{tmp_path}/gone",
        "rev": "0" * 40,
        "lastModified": 1,
        "narHash": NO_HASH,
    }
    lock = {
        "nodes": {
            "root": {"inputs": {"gone": "gone"}},
            "gone": {"locked": gone, "original": {"type": "git", "url": f"file://{tmp_path}/gone"}},
        },
        "root": "root",
        "version": 7,
    }
    text = flake_text(
        '{ packages.x86_64-linux = { a = drv "a" { }; m = inputs.gone.packages.x; z = drv "z" { }; }; }',
        f'inputs.gone.url = "git+file://{tmp_path}/gone";',
    )
    repo = make_repo(tmp_path / "repo")
    commit(repo, {"flake.nix": text, "flake.lock": json.dumps(lock)})
    inventory = read_inventory(read_source(".", cwd=repo, config=Config()), Config())
    assert [failure.attr for failure in inventory.failures] == ["packages.x86_64-linux.m"]
    assert "gone" in inventory.failures[0].message
    assert {output.path[-1] for output in inventory.outputs} == {"a", "z"}


BUILT = """
  readBuilt = name: script: import (derivation {
    inherit name; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" script ];
  });
"""


def test_builds_that_evaluation_needs_are_done_counted_and_named(take: Take) -> None:
    inventory = take(
        f""" (let {BUILT} in {{ packages.x86_64-linux = {{
          a = drv "a" {{ x = readBuilt "good" "echo building; echo '\\"from a build\\"' > $out"; }};
          b = drv "b" {{ x = readBuilt "good" "echo building; echo '\\"from a build\\"' > $out"; }};
        }}; }}) """
    )
    assert not inventory.failures
    assert len(inventory.outputs) == 2
    assert [re.sub(r".*/[^-]*-", "", path) for path in inventory.built_during_evaluation] == ["good.drv"]


def test_a_build_that_fails_during_evaluation_costs_only_its_output(take: Take) -> None:
    inventory = take(
        f""" (let {BUILT} in {{ packages.x86_64-linux = {{
          a = drv "a" {{ }};
          m = drv "m" {{ x = readBuilt "bad" "echo first words; echo last words; exit 3"; }};
          z = drv "z" {{ }};
        }}; }}) """
    )
    assert_only(
        inventory, ("packages", "x86_64-linux", "m"), r"bad\.drv(.|\n)*exit code 3(.|\n)*first words(.|\n)*last words"
    )
    assert {output.path[-1] for output in inventory.outputs} == {"a", "z"}
    assert len(inventory.built_during_evaluation) == 1


def test_a_build_for_another_system_during_evaluation_costs_only_its_output(take: Take) -> None:
    inventory = take(
        """ { packages.x86_64-linux = {
          a = drv "a" { };
          m = drv "m" { x = import (derivation { name = "f"; system = "riscv-nowhere"; builder = "/bin/sh"; }); };
        }; } """
    )
    assert_only(inventory, ("packages", "x86_64-linux", "m"), r"riscv-nowhere")
    assert [output.path[-1] for output in inventory.outputs] == ["a"]


def test_import_from_derivation_can_be_forbidden(take: Take) -> None:
    inventory = take(
        f""" (let {BUILT} in {{ packages.x86_64-linux = {{
          a = drv "a" {{ }};
          m = drv "m" {{ x = readBuilt "good" "echo 1 > $out"; }};
        }}; }}) """,
        allow_import_from_derivation=False,
    )
    assert_only(inventory, ("packages", "x86_64-linux", "m"), r"allow-import-from-derivation")
    assert inventory.built_during_evaluation == ()


def test_evaluation_is_impure_only_where_the_configuration_says_so(take: Take) -> None:
    outputs = '{ packages.x86_64-linux.a = drv "a" { x = builtins.currentSystem; }; }'
    assert take(outputs).failures
    assert not take(outputs, impure=True).failures


WHOLE = {
    "syntax-error": ("{ outputs = { self }: { ", r"syntax error"),
    "outputs-throw": ('{ outputs = { self }: throw "no outputs"; }', r"no outputs"),
    "outputs-recursion": ("{ outputs = { self }: self; }", r"infinite recursion"),
    "outputs-no-set": ("{ outputs = { self }: 5; }", r"no attribute set|expected a set|is an integer"),
    "outputs-no-function": ("{ outputs = 5; }", r"expected a function|is not a function|must be a function"),
    "unknown-argument": ("{ outputs = { self, nope }: { }; }", r"nope"),
    "missing-argument": ("{ outputs = { }: { }; }", r"self"),
    "no-outputs": ('{ description = "x"; }', r"outputs"),
    "unsupported-attribute": ("{ outputs = _: { }; nonsense = 1; }", r"nonsense"),
    "abort": ('{ outputs = { self }: builtins.abort "gone"; }', r"gone"),
}


@pytest.mark.parametrize("way", WHOLE)
def test_a_flake_that_fails_as_a_whole_is_one_clear_error(way: str, nix_bin: Path, tmp_path: Path) -> None:
    text, message = WHOLE[way]
    folder = write_flake(tmp_path / "flake", "", files={"flake.nix": text})
    with pytest.raises(FlakeError) as raised:
        read_inventory(read_source(f"path:{folder}", cwd=tmp_path, config=Config()), Config())
    assert re.search(message, raised.value.why or ""), raised.value.why
    assert raised.value.where == f"path:{folder}"


def test_a_flake_without_any_outputs_is_an_empty_inventory(take: Take) -> None:
    inventory = take("{ }")
    assert (inventory.outputs, inventory.failures) == ((), ())


@pytest.mark.parametrize("place", ["empty-folder", "empty-repository", "untracked", "missing"])
def test_a_place_that_is_no_flake_is_a_clear_error_with_a_hint(place: str, nix_bin: Path, tmp_path: Path) -> None:
    folder = tmp_path / place
    if place == "empty-folder":
        folder.mkdir()
    elif place != "missing":
        commit(make_repo(folder), {"readme": "x"})
    if place == "untracked":
        (folder / "flake.nix").write_text("{ outputs = _: { }; }")
    with pytest.raises(FlakeError) as raised:
        read_source(str(folder), cwd=tmp_path, config=Config())
    assert raised.value.why
    assert place == "missing" or "git add" in (raised.value.hint or "")
