"""Which attributes become outputs, and what is known of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelinegen.attrpath import nix_string, show
from pipelinegen.config import Config
from pipelinegen.inventory.model import FlakeOutput, Inventory, Kind
from pipelinegen.inventory.read import read_inventory, read_source
from tests.integration.inventory.conftest import Take, flake_text

pytestmark = pytest.mark.nix

OF_EVERY_KIND = """ {
  packages.x86_64-linux = {
    default = drv "default" { };
    two = drv "two" { outputs = [ "out" "dev" ]; };
    marked = { recurseForDerivations = true; inner = drv "inner" { }; text = "no derivation"; };
    unmarked = { inner = throw "not looked at"; };
    text = "no derivation";
    function = x: x;
  };
  packages.aarch64-linux.default = derivation { name = "foreign"; system = "aarch64-linux"; builder = "/bin/sh"; };
  checks.x86_64-linux.test = drv "test" { requiredSystemFeatures = [ "kvm" "big-parallel" ]; };
  devShells.x86_64-linux.default = drv "shell" { } // { inputDerivation = drv "shell-inputs" { }; };
  devShells.x86_64-linux.plain = drv "plain-shell" { };
  formatter.x86_64-linux = drv "formatter" { };
  hydraJobs = {
    top = drv "top" { };
    a.b.c = drv "deep" { };
    off = { recurseForDerivations = false; x = throw "not looked at"; };
    text = "no derivation";
  };
  nixosConfigurations.web1.config.system.build.toplevel = drv "nixos-web1" { };
  darwinConfigurations.mac.system = drv "darwin-mac" { };
  homeConfigurations."me@web1".activationPackage = drv "home-me" { };
  legacyPackages.x86_64-linux = {
    homeConfigurations.you.activationPackage = drv "home-you" { };
    hello = throw "only looked at when asked for";
  };
  legacyPackages.aarch64-linux = { };
  images.disk = drv "disk" { };
  apps.x86_64-linux.default = { type = "app"; program = throw "not looked at"; };
  overlays.default = throw "not looked at";
  nixosModules.default = throw "not looked at";
  templates.default = throw "not looked at";
  lib = throw "not looked at";
  somethingElse = throw "not looked at";
} """


def by_attr(inventory: Inventory) -> dict[str, FlakeOutput]:
    return {output.attr: output for output in inventory.outputs}


def test_every_kind_is_found_and_everything_else_left_alone(take: Take) -> None:
    inventory = take(OF_EVERY_KIND)
    assert inventory.failures == ()
    found = {(output.attr, output.drv_attr, output.kind, output.name) for output in inventory.outputs}
    toplevel = "config.system.build.toplevel"
    legacy = "legacyPackages.x86_64-linux.homeConfigurations.you"
    assert found == {
        *(
            (attr, attr, kind, name)
            for attr, kind, name in (
                ("packages.x86_64-linux.default", Kind.PACKAGE, "default"),
                ("packages.x86_64-linux.two", Kind.PACKAGE, "two"),
                ("packages.x86_64-linux.marked.inner", Kind.PACKAGE, "inner"),
                ("packages.aarch64-linux.default", Kind.PACKAGE, "foreign"),
                ("checks.x86_64-linux.test", Kind.CHECK, "test"),
                ("devShells.x86_64-linux.plain", Kind.DEV_SHELL, "plain-shell"),
                ("formatter.x86_64-linux", Kind.FORMATTER, "formatter"),
                ("hydraJobs.top", Kind.HYDRA_JOB, "top"),
                ("hydraJobs.a.b.c", Kind.HYDRA_JOB, "deep"),
            )
        ),
        (
            "devShells.x86_64-linux.default",
            "devShells.x86_64-linux.default.inputDerivation",
            Kind.DEV_SHELL,
            "shell-inputs",
        ),
        ("nixosConfigurations.web1", f"nixosConfigurations.web1.{toplevel}", Kind.NIXOS, "nixos-web1"),
        ("darwinConfigurations.mac", "darwinConfigurations.mac.system", Kind.DARWIN, "darwin-mac"),
        (
            'homeConfigurations."me@web1"',
            'homeConfigurations."me@web1".activationPackage',
            Kind.HOME,
            "home-me",
        ),
        (legacy, f"{legacy}.activationPackage", Kind.HOME, "home-you"),
    }
    assert [output.path for output in inventory.outputs] == sorted(output.path for output in inventory.outputs)


def test_an_output_knows_its_system_features_and_paths(take: Take) -> None:
    found = by_attr(take(OF_EVERY_KIND))
    foreign = found["packages.aarch64-linux.default"]
    assert foreign.system == "aarch64-linux"
    assert found["checks.x86_64-linux.test"].features == ("big-parallel", "kvm")
    two = found["packages.x86_64-linux.two"]
    assert two.wanted == ("out",)
    assert sorted(two.outputs) == ["dev", "out"]
    assert str(two.outputs["dev"]).endswith("-two-dev")


def test_what_to_install_and_time_limits_come_from_meta(take: Take) -> None:
    inventory = take(
        """ { packages.x86_64-linux =
          let
            two = drv "two" { outputs = [ "out" "dev" "man" ]; };
            with' = meta: two // { inherit meta; };
          in {
            installs = with' { outputsToInstall = [ "man" "out" "nonsense" ]; timeout = 7; maxSilent = 3; };
            nonsense = with' { outputsToInstall = "man"; timeout = "7"; maxSilent = null; };
            throws = with' { outputsToInstall = throw "x"; timeout = throw "y"; available = throw "z"; };
            nothing = two // { meta = throw "no meta"; };
            text = two // { meta = "text"; };
            dev = two.dev // { outputSpecified = true; meta.outputsToInstall = [ "out" ]; };
            plain-dev = two.dev;
          }; } """
    )
    assert not inventory.failures
    wanted = {output.path[-1]: output.wanted for output in inventory.outputs}
    assert wanted == {
        "installs": ("man", "out"),
        "nonsense": ("out",),
        "throws": ("out",),
        "nothing": ("out",),
        "text": ("out",),
        "dev": ("dev",),
        "plain-dev": ("dev",),
    }
    limits = {output.path[-1]: (output.timeout, output.max_silent) for output in inventory.outputs}
    assert limits["installs"] == (7, 3)
    assert {limits[name] for name in ("nonsense", "throws", "nothing")} == {(None, None)}


def test_two_attributes_with_one_derivation_are_two_outputs(take: Take) -> None:
    inventory = take(
        '{ packages.x86_64-linux = rec { a = drv "x" { }; b = a; }; checks.x86_64-linux.c = drv "x" { }; }'
    )
    assert len(inventory.outputs) == 3
    assert len({output.drv_path for output in inventory.outputs}) == 1


def test_unavailable_outputs_are_told_before_their_derivation_is_evaluated(take: Take) -> None:
    inventory = take(
        """ { packages.x86_64-linux =
          let
            marked = meta: { type = "derivation"; name = "x-1"; system = "x86_64-linux"; inherit meta;
              drvPath = throw "refusing to evaluate"; };
          in {
            broken = marked { available = false; broken = true; unsupported = false; };
            unsupported = marked { available = false; unsupported = true; };
            both = marked { available = false; broken = true; insecure = true; };
            unfree = marked { available = false; unfree = true; };
            silent = marked { available = false; };
            unchecked = marked { broken = true; };
            allowed = drv "allowed" { } // { meta = { available = true; broken = true; unfree = true; }; };
            unfree-allowed = drv "unfree-allowed" { } // { meta.unfree = true; };
          }; } """
    )
    assert not inventory.failures
    why = {output.path[-1]: output.unavailable for output in inventory.outputs}
    assert why == {
        "broken": "broken",
        "unsupported": "unsupported",
        "both": "broken, insecure",
        "unfree": "unfree",
        "silent": "not available on this platform (meta.available = false)",
        "unchecked": "broken",
        "allowed": None,
        "unfree-allowed": None,
    }
    broken = by_attr(inventory)["packages.x86_64-linux.broken"]
    assert (broken.name, broken.system, broken.drv_path, broken.outputs) == ("x-1", "x86_64-linux", "", {})


def test_what_is_included_is_found_besides_the_standard_kinds(take: Take) -> None:
    config = Config(
        include=(
            "images.*",
            "nixosTests.**",
            "nixosConfigurations.*.config.system.build.vm",
            "legacyPackages.x86_64-linux.h?llo",
            "packages.*.*",
            "missing.*",
            "missing.thing.deeper",
            "*.x86_64-linux.special",
        )
    )
    inventory = take(
        """ {
          images = { disk = drv "disk" { }; text = "x"; nested.disk = throw "not looked at"; };
          nixosTests = { one = drv "one" { }; deep.er.two = drv "two" { }; function = x: x; };
          nixosConfigurations.web1.config.system.build = {
            toplevel = drv "system" { }; vm = drv "vm" { }; other = throw "no"; };
          legacyPackages.x86_64-linux = { hello = drv "hello" { }; hxxllo = throw "no"; other = throw "no"; };
          packages.x86_64-linux.a = drv "a" { };
          apps.x86_64-linux.special = drv "special" { };
          lib = { };
          overlay = final: prev: { };
        } """,
        config=config,
    )
    assert not inventory.failures
    assert {output.attr: output.kind for output in inventory.outputs} == {
        "images.disk": Kind.OTHER,
        "nixosTests.one": Kind.OTHER,
        "nixosTests.deep.er.two": Kind.OTHER,
        "nixosConfigurations.web1": Kind.NIXOS,
        "nixosConfigurations.web1.config.system.build.vm": Kind.OTHER,
        "legacyPackages.x86_64-linux.hello": Kind.OTHER,
        "packages.x86_64-linux.a": Kind.PACKAGE,
        "apps.x86_64-linux.special": Kind.OTHER,
    }


def test_a_package_set_that_contains_itself_is_searched_only_where_it_says_so(take: Take) -> None:
    inventory = take(
        """ {
          legacyPackages.x86_64-linux = let pkgs = {
            inherit pkgs;
            hello = drv "hello" { };
            python = { recurseForDerivations = true; numpy = drv "numpy" { }; };
            quiet.tool = throw "not looked at";
          }; in pkgs;
        } """,
        config=Config(include=("legacyPackages.**",)),
    )
    assert [output.path[2:] for output in inventory.outputs] == [("hello",), ("python", "numpy")]
    assert not inventory.failures


def test_excluded_attributes_are_never_forced(take: Take) -> None:
    stop = 'builtins.abort "forced"'
    inventory = take(
        f""" {{
          packages.x86_64-linux = {{ good = drv "good" {{ }}; big-1 = {stop}; big-2 = {stop}; }};
          packages.aarch64-linux = {stop};
          checks = {stop};
          hydraJobs = {{ good.deep = drv "deep" {{ }}; good.secret = {stop}; bad = {stop}; }};
          nixosConfigurations.web1 = {stop};
          nixosConfigurations."a.b" = {stop};
          nixosConfigurations.web2.config.system.build.toplevel = drv "web2" {{ }};
          images.skip = {stop};
          images.take = drv "take" {{ }};
          tests.deep.skip.x = {stop};
          tests.deep.take.x = drv "x" {{ }};
        }} """,
        config=Config(
            include=("images.*", "tests.**"),
            exclude=(
                "packages.*.big-*",
                "packages.aarch64-linux",
                "checks.**",
                "hydraJobs.bad",
                "**.secret",
                "nixosConfigurations.web1",
                'nixosConfigurations."a.b"',
                "images.skip",
                "tests.*.skip",
            ),
        ),
    )
    assert not inventory.failures
    assert {output.attr for output in inventory.outputs} == {
        "packages.x86_64-linux.good",
        "hydraJobs.good.deep",
        "nixosConfigurations.web2",
        "images.take",
        "tests.deep.take.x",
    }


NAMES = (
    "a.b",
    'quo"te',
    "back\\slash",
    "space d",
    "$dollar",
    "${interpolation}",
    "`backquote`",
    "new\nline",
    "tab\tcr\r",
    "\x01\x1b[31mred",
    "emoji 🚀 ä",
    "'single'",
    "<x> & | ; #",
    "",
    "x" * 300,
    "🚀" * 300,
    "-dash",
    "if",
    "123",
    "@nix {",
    "trace: x",
    "section_start:1:x",
)


def test_hostile_names_arrive_unchanged(take: Take) -> None:
    items = " ".join(f'{nix_string(name)} = drv "x" {{ n = {nix_string(name)}; }};' for name in NAMES)
    inventory = take(
        f"{{ packages.x86_64-linux = {{ {items} }}; hydraJobs = {{ {nix_string('a.b')} = {{ {items} }}; }}; }}"
    )
    assert not inventory.failures
    assert {output.path for output in inventory.outputs} == {
        *(("packages", "x86_64-linux", name) for name in NAMES),
        *(("hydraJobs", "a.b", name) for name in NAMES),
    }


def test_hostile_names_can_fail_and_be_excluded(take: Take) -> None:
    items = " ".join(f'{nix_string(name)} = throw "no";' for name in NAMES)
    inventory = take(
        f"{{ packages.x86_64-linux = {{ {items} }}; checks.x86_64-linux = {{ {items} }}; }}",
        config=Config(exclude=tuple(show(("checks", "x86_64-linux", name)) for name in NAMES if "[" not in name)),
    )
    assert {failure.path for failure in inventory.failures} == {
        *(("packages", "x86_64-linux", name) for name in NAMES),
        ("checks", "x86_64-linux", "\x01\x1b[31mred"),
    }


def test_a_name_that_is_no_text_is_not_lost_silently(nix_bin: Path, tmp_path: Path) -> None:
    folder = tmp_path / "flake"
    folder.mkdir()
    text = flake_text(
        '{ packages.x86_64-linux = { a = drv "a" { }; "BYTE" = drv "b" { }; }; checks.x86_64-linux.c = drv "c" { }; }'
    )
    (folder / "flake.nix").write_bytes(text.encode().replace(b"BYTE", b"x\xff"))
    inventory = read_inventory(read_source(f"path:{folder}", cwd=tmp_path, config=Config()), Config())
    assert inventory.failures or len(inventory.outputs) == 3
    assert "checks.x86_64-linux.c" in by_attr(inventory)
