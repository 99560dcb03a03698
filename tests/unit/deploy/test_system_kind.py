"""Which kind of system a store path is, told by its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelinegen.deploy.system_kind import SystemKind, files_of, kind_of, refusal

NIXOS = {"activate", "bin/switch-to-configuration", "etc", "init", "kernel", "nixos-version", "sw", "bin"}
HOME = {"activate", "bin", "gen-version", "home-files", "home-path"}
OLD_HOME = {"activate", "home-files", "home-path"}
DARWIN = {"activate", "activate-user", "darwin-version", "etc", "Library", "sw", "systemConfig", "user"}


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        pytest.param(NIXOS, SystemKind.NIXOS, id="nixos"),
        pytest.param(HOME, SystemKind.HOME_MANAGER, id="home-manager"),
        pytest.param(OLD_HOME, SystemKind.HOME_MANAGER, id="home-manager of old"),
        pytest.param(DARWIN, SystemKind.DARWIN, id="nix-darwin"),
        pytest.param({"bin", "share"}, SystemKind.UNKNOWN, id="a package"),
        pytest.param({"activate", "bin"}, SystemKind.UNKNOWN, id="something with an activate script"),
        pytest.param({"home-path"}, SystemKind.UNKNOWN, id="no activate script"),
        pytest.param(set(), SystemKind.UNKNOWN, id="nothing"),
    ],
)
def test_each_kind_is_known_by_its_files(files: set[str], kind: SystemKind) -> None:
    assert kind_of(files) is kind


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (SystemKind.HOME_MANAGER, "home-manager generation"),
        (SystemKind.DARWIN, "nix-darwin system"),
        (SystemKind.UNKNOWN, "no NixOS system: it has no bin/switch-to-configuration"),
    ],
)
def test_what_is_no_nixos_is_refused_by_its_name_and_with_a_way_out(kind: SystemKind, says: str) -> None:
    refused = refusal("/nix/store/x", kind)
    assert refused[0].startswith("/nix/store/x is ")
    assert says in refused[0]
    assert refused[1]


def test_the_files_of_a_folder_are_seen_and_a_folder_that_is_not_there_has_none(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "switch-to-configuration").touch()
    assert kind_of(files_of(tmp_path)) is SystemKind.NIXOS
    assert kind_of(files_of(tmp_path / "absent")) is SystemKind.UNKNOWN
