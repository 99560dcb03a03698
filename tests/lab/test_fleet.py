"""The example fleet is what its README says, and its systems behave on a machine as NixOS's do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lab.conftest import MakeHost
from tests.lab.host import Host
from tests.lab.machine import FLEET, OTHER_NIX
from tests.lab.repo import Project, new_project
from tests.lab.store import PrivateStore, SigningKey, names

pytestmark = [pytest.mark.lab, pytest.mark.nix]

DERIVATIONS = """
let
  outputs = (import (builtins.getEnv "FLEET" + "/flake.nix")).outputs { self = { }; };
  paths = builtins.mapAttrs (name: value: value.drvPath);
in
paths outputs.packages.x86_64-linux
// paths outputs.checks.x86_64-linux
// builtins.mapAttrs (name: host: host.config.system.build.toplevel.drvPath) outputs.nixosConfigurations
// { formatter = outputs.formatter.x86_64-linux.drvPath; }
// { shell = outputs.devShells.x86_64-linux.default.inputDerivation.drvPath; }
"""

BUILT = [
    ".#packages.x86_64-linux.api",
    '.#packages.x86_64-linux."hello 2.0"',
    ".#packages.x86_64-linux.cli.doc",
    ".#devShells.x86_64-linux.default.inputDerivation",
    ".#formatter.x86_64-linux",
    *(f".#checks.x86_64-linux.{name}" for name in ("api-answers", "cli-counts", "database-stores", "website-answers")),
    *(f".#nixosConfigurations.{name}.config.system.build.toplevel" for name in ("db1", "web1", "web2")),
]


def derivations(store: PrivateStore, folder: Path) -> dict[str, str]:
    """Output → derivation path."""
    evaluate = ("nix-instantiate", "--eval", "--strict", "--json", "--expr", DERIVATIONS)
    evaluated = store.run(*evaluate, env={"FLEET": str(folder)})
    found: dict[str, str] = json.loads(evaluated.stdout)
    return found


@pytest.mark.parametrize(
    ("file", "old", "new", "unchanged"),
    [
        ("pkgs/libdisk.nix", "/database", "/data", {
            "api", "api-answers", "cli", "cli-counts", "default", "formatter", "hello 2.0", "libhttp", "shell",
            "web1", "web2", "website", "website-answers",
        }),
        ("pkgs/libhttp.nix", "200 OK", "200 Fine", {
            "backup", "cli", "cli-counts", "database", "database-stores", "db1", "default", "formatter",
            "hello 2.0", "shell",
        }),
        ("pkgs/libtext.nix", "%s: %s", "%s - %s", {"backup", "formatter", "hello 2.0"}),
        ("pkgs/render.nix", "<h1>", "<h2>", {
            "api", "api-answers", "backup", "database", "database-stores", "db1", "formatter", "hello 2.0",
            "libhttp", "web2", "website", "website-answers",
        }),
        ("hosts/web1.nix", "web1 of the fleet", "web1", {
            "api", "api-answers", "backup", "cli", "cli-counts", "database", "database-stores", "db1", "default",
            "formatter", "hello 2.0", "libhttp", "shell", "web2", "website", "website-answers",
        }),
    ],
    ids=lambda value: value if isinstance(value, str) and value.endswith(".nix") else "",
)  # fmt: skip
def test_a_changed_file_changes_what_the_readme_says(
    store: PrivateStore, tmp_path: Path, file: str, old: str, new: str, unchanged: set[str]
) -> None:
    before = derivations(store, FLEET)
    project = new_project(tmp_path / "project")
    project.edit(file, old, new)
    after = derivations(store, project.folder)
    assert {name for name, drv in after.items() if before[name] == drv} == unchanged


@pytest.mark.parametrize("nix_bin", [None, *OTHER_NIX], ids=str)
def test_every_output_is_found_and_builds_twice_to_the_same_bytes(
    private_stores: None, tmp_path: Path, nix_bin: Path | None
) -> None:
    if nix_bin is not None and not nix_bin.is_dir():
        pytest.skip(f"there is no Nix in {nix_bin}")
    store = PrivateStore(tmp_path / "store", nix_bin=nix_bin)
    project = new_project(tmp_path / "project")
    shown = store.run("nix", "flake", "show", "--json", "--all-systems", cwd=project.folder, check=False)
    if shown.returncode != 0:  # Nix 2.8 always shows all systems
        shown = store.run("nix", "flake", "show", "--json", cwd=project.folder)
    outputs = json.loads(shown.stdout)
    assert set(outputs["packages"]["x86_64-linux"]) == {
        "api", "backup", "cli", "database", "default", "hello 2.0", "libhttp", "website",
    }  # fmt: skip
    assert outputs["packages"]["aarch64-linux"]["cli"]["name"] == "fleet-1.0"
    assert set(outputs["nixosConfigurations"]) == {"db1", "web1", "web2"}

    store.run("nix", "build", "--no-link", *BUILT, cwd=project.folder)
    built = store.built()
    assert {"libtext-1.0", "libdisk-1.0", "render-1.0", "nixos-system-db1-1.0"} <= set(names(built))
    store.run("nix", "build", "--no-link", "--rebuild", *BUILT, cwd=project.folder)
    store.run("nix", "flake", "check", cwd=project.folder)


def test_the_manual_is_in_no_closure_and_systems_are_never_substituted_by_nix(
    store: PrivateStore, tmp_path: Path
) -> None:
    project = new_project(tmp_path / "project")
    store.run("nix", "build", "--no-link", *BUILT, cwd=project.folder)
    systems = [
        store.run("nix", "eval", "--raw", f"{attribute}.outPath", cwd=project.folder).stdout for attribute in BUILT[-3:]
    ]
    closure = store.run("nix-store", "-qR", *systems).stdout
    assert "-fleet-1.0\n" in closure
    assert "-doc" not in closure
    assert "-render" not in closure
    drvs = store.run("nix-store", "-qd", *systems).stdout.split()
    for drv in drvs:
        environment = json.loads(store.run("nix", "show-derivation", drv).stdout)[drv]["env"]
        assert (environment["preferLocalBuild"], environment["allowSubstitutes"]) == ("1", "")


# --- on a machine


class Deployer:
    """Builds revisions of web1 and puts them on a machine, by hand."""

    def __init__(self, host: Host, store: PrivateStore, project: Project, key: SigningKey) -> None:
        self.host, self.store, self.project, self.key = host, store, project, key

    def system(self, *edits: tuple[str, str, str]) -> str:
        """The system after these edits, built and copied to the machine."""
        for edit in edits:
            self.project.edit(*edit)
        self.project.commit("change")
        attribute = ".#nixosConfigurations.web1.config.system.build.toplevel"
        self.store.run("nix", "build", "--no-link", attribute, cwd=self.project.folder)
        path = self.store.run("nix", "eval", "--raw", f"{attribute}.outPath", cwd=self.project.folder).stdout
        self.store.run("nix", "store", "sign", "--recursive", "--key-file", self.key.secret_file, path)
        self.store.run("nix", "copy", "--to", self.host.store_url, path, env=self.host.nix_ssh_environment)
        return path

    def switch(self, system: str, action: str = "switch") -> tuple[int, str]:
        """Exit code and messages of its switch-to-configuration."""
        ended = self.host.ssh(f"{system}/bin/switch-to-configuration {action}", check=False)
        return ended.returncode, ended.stderr


@pytest.fixture
def deployer(make_host: MakeHost, store: PrivateStore, signing_key: SigningKey, tmp_path: Path) -> Deployer:
    host = make_host("web1", trusted_keys=[signing_key.public])
    return Deployer(host, store, new_project(tmp_path / "project"), signing_key)


def test_a_switch_starts_restarts_and_stops_services_and_goes_back(deployer: Deployer) -> None:
    host = deployer.host
    first = deployer.system()
    code, said = deployer.switch(first, "dry-activate")
    assert (code, "would start the following units: website.service" in said) == (0, True)
    assert deployer.switch(first, "check")[0] == deployer.switch(first, "boot")[0] == 0
    assert host.current_system() == host.initial_system

    assert deployer.switch(first)[0] == 0
    assert host.current_system() == first
    assert host.read("systemctl is-active website") == "active"
    assert host.read("/run/current-system/sw/bin/fleet") == "fleet: three machines"
    pid = host.read("systemctl show --property MainPID website")
    assert deployer.switch(first)[0] == 0
    assert host.read("systemctl show --property MainPID website") == pid

    second = deployer.system(("pkgs/website.nix", "welcome", "hello"))
    code, said = deployer.switch(second, "test")
    assert (code, "restarting the following units: website.service" in said) == (0, True)
    assert host.read("systemctl show --property MainPID website") != pid
    assert "HTTP/1.1 200 OK: hello" in host.read("journalctl --no-pager --unit website")

    assert deployer.switch(host.initial_system)[0] == 0
    assert host.current_system() == host.initial_system
    assert host.ssh("systemctl is-active website", check=False).stdout.strip() == "inactive"
    assert host.state() == "running"


def test_a_switch_says_by_its_exit_code_what_went_wrong(deployer: Deployer) -> None:
    host = deployer.host
    good = deployer.system()
    assert deployer.switch(good)[0] == 0
    assert deployer.switch(good, "sideways")[0] == 1

    held = "flock /run/nixos/switch-to-configuration.lock"
    assert host.ssh(f"{held} {good}/bin/switch-to-configuration switch", check=False).returncode == 11

    unit_fails = deployer.system(("pkgs/website.nix", "answer welcome", "answer welcome; exit 1"))
    code, said = deployer.switch(unit_fails)
    assert (code, "the following units failed: website.service" in said) == (4, True)
    assert host.current_system() == unit_fails
    assert host.state() == "degraded"
    assert deployer.switch(good)[0] == 0
    assert host.state() == "running"

    activation_fails = deployer.system(
        ("pkgs/website.nix", "answer welcome; exit 1", "answer welcome"),
        ("hosts/web1.nix", "motd =", 'activation = "exit 7";\n  motd ='),
    )
    assert deployer.switch(activation_fails)[0] == 2
    assert host.current_system() == good

    needs_reboot = deployer.system(
        ("hosts/web1.nix", 'activation = "exit 7";', ""),
        ("lib/system.nix", "printf '%s' '1' >", "printf '%s' '2' >"),
    )
    assert deployer.switch(needs_reboot)[0] == 100
    assert host.current_system() == good
