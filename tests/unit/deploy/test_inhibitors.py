"""What keeps a host from switching live, and what waits for a reboot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelinegen.deploy.inhibitors import inhibitors, read_facts, reboot_needed

STORE = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz"


def declared(**values: object) -> dict[str, str]:
    return {"switch-inhibitors": json.dumps(values)}


@pytest.mark.parametrize(
    ("new", "running", "expected"),
    [
        pytest.param(declared(a="2"), declared(a="1"), ("a: 1 → 2",), id="a value differs"),
        pytest.param(declared(a="1"), declared(a="1"), (), id="no value differs"),
        pytest.param(declared(a="1", b="1"), declared(a="1", c="2"), (), id="keys of one of them alone do not count"),
        pytest.param(declared(a="1"), {}, (), id="the running system is from before"),
        pytest.param({"switch-inhibitors": "[1"}, declared(a="1"), (), id="no JSON"),
        pytest.param({"switch-inhibitors": "[1]"}, declared(a="1"), (), id="no map"),
        pytest.param(declared(a={"x": 1}), declared(a={"x": 2}), ('a: {"x": 2} → {"x": 1}',), id="no strings"),
        pytest.param(
            {"init-interface-version": "systemd 3\n"},
            {"init-interface-version": "systemd 2 "},
            ("init-interface-version: systemd 2 → systemd 3",),
            id="the interface of init differs",
        ),
        pytest.param(
            {"dbus": "dbus-broker"},
            {"dbus": "dbus-daemon"},
            ("D-Bus implementation: dbus-daemon → dbus-broker",),
            id="another D-Bus",
        ),
        pytest.param({"dbus": "dbus-broker"}, {}, (), id="a D-Bus that is not known"),
        pytest.param(declared(a="x\x1b[2J"), declared(a="y" * 200), (f"a: {'y' * 119}… → x",), id="hostile text"),
    ],
)
def test_a_live_switch_is_not_possible(new: dict[str, str], running: dict[str, str], expected: tuple[str, ...]) -> None:
    assert inhibitors(new, running) == expected


def system(version: str, kernel: str = "6.6.1") -> dict[str, str]:
    return {
        "kernel": f"{STORE}-linux-{kernel}/bzImage",
        "initrd": f"{STORE}-initrd-linux-{kernel}/initrd",
        "kernel-modules": f"{STORE}-linux-{kernel}-modules",
        "systemd": f"{STORE}-systemd-{version}",
        "kernel-params": "quiet loglevel=4",
    }


@pytest.mark.parametrize(
    ("new", "booted", "expected"),
    [
        pytest.param(system("257.2"), system("257.9"), (), id="another build of systemd"),
        pytest.param(system("258"), system("257.9"), ("systemd",), id="another systemd"),
        pytest.param(
            system("257", "6.6.2"), system("257"), ("kernel", "initrd", "kernel-modules"), id="another kernel"
        ),
        pytest.param(
            system("257") | {"kernel-params": "loglevel=4"}, system("257"), ("kernel-params",), id="other parameters"
        ),
        pytest.param(system("257") | {"kernel-params": " quiet  loglevel=4\n"}, system("257"), (), id="spaces"),
        pytest.param(system("257"), {}, (), id="a container, which boots no kernel"),
    ],
)
def test_a_reboot_is_needed(new: dict[str, str], booted: dict[str, str], expected: tuple[str, ...]) -> None:
    assert reboot_needed(new, booted) == expected


def test_the_facts_of_a_system_are_read_from_its_files(tmp_path: Path) -> None:
    (tmp_path / "linux").mkdir()
    (tmp_path / "linux" / "bzImage").write_text("kernel")
    made = tmp_path / "system"
    units = made / "etc" / "systemd" / "system"
    units.mkdir(parents=True)
    (made / "kernel").symlink_to(tmp_path / "linux" / "bzImage")
    (made / "initrd").symlink_to(tmp_path / "nowhere")
    (made / "kernel-params").write_text("quiet")
    (units / "dbus-broker.service").write_text(
        "[Service]\nExecStart=/nix/store/x-dbus-broker-36/bin/dbus-broker-launch\n"
    )
    (units / "dbus.service").symlink_to("dbus-broker.service")
    assert read_facts(str(made)) == {
        "kernel": str(tmp_path / "linux" / "bzImage"),
        "kernel-params": "quiet",
        "dbus": "dbus-broker",
    }
