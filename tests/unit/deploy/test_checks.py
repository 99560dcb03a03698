"""The rules of the pre-flight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pipelinegen.config_caches import CacheConfig, WriterClass
from pipelinegen.config_hosts import HostConfig
from pipelinegen.deploy import checks, checks_of_change
from pipelinegen.deploy.findings import Findings
from pipelinegen.deploy.preflight_answers import Seen
from pipelinegen.deploy.state import HostState

AT = "web1.example.org"
OLD, NEW, OTHER = "/nix/store/old", "/nix/store/new", "/nix/store/other"
OURS, THEIRS = "1" * 40, "2" * 40
MIB = 1024 * 1024


def host(**settings: Any) -> HostConfig:
    return HostConfig.model_validate({"address": AT, **settings})


def whole(**more: Any) -> Seen:
    """What a host says where all is well."""
    values = {
        "root": True,
        "whole": True,
        "systemd": True,
        "nixos": True,
        "flock": True,
        "nix": "nix-store (Nix) 2.28.4",
        "state": HostState(running=OLD, booted=OLD, profile=OLD, hostname="web1", boot_id="now"),
    }
    return Seen.model_validate(values | more)


def said(findings: Findings) -> dict[str, str]:
    """What was found, as one text each."""
    kinds = {"refusal": findings.refusals, "warning": findings.warnings, "note": findings.notes}
    return {kind: "\n".join(lines) for kind, lines in kinds.items() if lines}


def expect(findings: Findings, expected: Mapping[str, str]) -> None:
    """Exactly these kinds of findings, with these words."""
    found = said(findings)
    assert found.keys() == expected.keys(), found
    for kind, words in expected.items():
        assert words in found[kind]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(whole(), {"note": "has Nix 2.28.4"}, id="all is well"),
        pytest.param(whole(nix="nix (Lix, like Nix) 2.91.1"), {"note": "has Nix 2.91.1"}, id="Lix"),
        pytest.param(
            whole(nix="nix-store (Nix) 2.3.16"), {"warning": "Nix 2.3.16; with one older than 2.4"}, id="old Nix"
        ),
        pytest.param(whole(nix=""), {"warning": "does not say which version"}, id="a Nix that does not say"),
        pytest.param(whole(nix=None), {"refusal": "nix-store is not on the PATH"}, id="no Nix"),
        pytest.param(whole(systemd=False), {"refusal": "systemd does not run", "note": "Nix"}, id="no systemd"),
        pytest.param(whole(flock=False), {"refusal": "flock is not there", "note": "Nix"}, id="no flock"),
        pytest.param(whole(nixos=False), {"refusal": "no NixOS", "note": "Nix"}, id="no NixOS"),
        pytest.param(whole(whole=False), {"refusal": "stopped half-way", "note": "Nix"}, id="half an answer"),
        pytest.param(
            whole(root=False, refusal="sudo: a password is required"),
            {"refusal": "may not use sudo without a password on web1.example.org (sudo: a password is", "note": "Nix"},
            id="no sudo",
        ),
    ],
)
def test_the_host_must_be_fit(seen: Seen, expected: dict[str, str]) -> None:
    findings = Findings()
    checks.check_login(seen, host(user="deploy"), AT, findings)
    expect(findings, expected)


def test_all_reasons_are_told_at_once_with_the_sudoers_line() -> None:
    findings = Findings()
    checks.check_login(Seen(), host(user="deploy"), AT, findings)
    assert len(findings.refusals) == 5
    assert '"deploy ALL=(ALL) NOPASSWD: ALL"' in findings.hints[0]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(whole(), {}, id="free"),
        pytest.param(whole(locks=("ours", "system"), holder="p-1"), {"refusal": "pipelinegen (p-1)"}, id="by us"),
        pytest.param(whole(locks=("system",)), {"refusal": "switch-to-configuration.lock is held"}, id="by a switch"),
        pytest.param(
            whole(locks=("system", "nixos-rebuild")), {"refusal": "nixos-rebuild's unit"}, id="by nixos-rebuild"
        ),
        pytest.param(whole(holder="p-1"), {"note": "p-1 left its lock behind"}, id="by one who died"),
    ],
)
def test_the_host_must_be_free(seen: Seen, expected: dict[str, str]) -> None:
    findings = Findings()
    checks.check_locks(seen, AT, findings)
    expect(findings, expected)
    assert findings.only_locked is ("refusal" in expected)
    findings.refuse("something else")
    assert not findings.only_locked


@pytest.mark.parametrize(
    ("wanted", "calls_itself", "expected"),
    [
        pytest.param("web1", "web1", {}, id="the same"),
        pytest.param("web1", "WEB1.example.org", {}, id="the same in full"),
        pytest.param("", "anything", {}, id="the system leaves it to the network"),
        pytest.param("web1", "nixos", {"warning": "calls itself nixos"}, id="nobody named it yet"),
        pytest.param("web2", "web1", {"refusal": "calls itself web1; the system is made for web2"}, id="another"),
        pytest.param("web1", "db1", {"refusal": "another host of the configuration than web1"}, id="a known other"),
    ],
)
def test_the_system_must_be_made_for_this_machine(wanted: str, calls_itself: str, expected: dict[str, str]) -> None:
    findings = Findings()
    checks.check_identity("web1", wanted, calls_itself, ["db1"], AT, findings)
    expect(findings, expected)


@pytest.mark.parametrize(
    ("platform", "machine", "fits"),
    [
        ("x86_64-linux", "x86_64", True),
        ("i686-linux", "x86_64", True),
        ("aarch64-linux", "arm64", True),
        ("aarch64-linux", "x86_64", False),
        ("x86_64-linux", "aarch64", False),
        ("riscv64-linux", "riscv64", True),
        ("", "x86_64", True),
        ("x86_64-linux", "", True),
    ],
)
def test_the_processor_must_run_the_system(platform: str, machine: str, fits: bool) -> None:
    findings = Findings()
    checks.check_platform(platform, machine, AT, findings)
    assert (not findings.refusals) is fits


@pytest.mark.parametrize(
    ("free", "needed", "expected"),
    [
        pytest.param(200 * MIB, 0, {}, id="nothing to copy"),
        pytest.param(210 * MIB, 100 * MIB, {}, id="enough"),
        pytest.param(205 * MIB, 100 * MIB, {"refusal": "100 MiB are to be copied"}, id="enough without the margin"),
        pytest.param(99 * MIB, 0, {"refusal": "100 MiB are to be left free"}, id="too little left"),
        pytest.param(None, 0, {"warning": "does not say how much room"}, id="not known"),
    ],
)
def test_the_store_must_have_room(free: int | None, needed: int, expected: dict[str, str]) -> None:
    findings = Findings()
    checks.check_room(whole(free_store=free), host(min_free_mb=100), needed, AT, findings)
    expect(findings, expected)


FILES = {"kernel": ("/k2", 10 * MIB), "initrd": ("/i2", 50 * MIB)}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param({"free_boot": 65 * MIB}, {"refusal": "a new initrd and kernel of 60 MiB"}, id="too little"),
        pytest.param({"free_boot": 66 * MIB}, {}, id="enough, with the margin"),
        pytest.param({"free_boot": 54 * MIB, "profile": {"initrd": "/i2"}}, {}, id="the initrd is there"),
        pytest.param(
            {"free_boot": 39 * MIB, "profile": {"initrd": "/i2"}}, {"refusal": "new kernel"}, id="the minimum"
        ),
        pytest.param(
            {"free_boot": 0, "booted": {"kernel": "/k2"}, "running": {"initrd": "/i2"}}, {}, id="both are there"
        ),
        pytest.param({"free_boot": None}, {}, id="no /boot"),
    ],
)
def test_boot_must_have_room_for_a_new_kernel(seen: dict[str, Any], expected: dict[str, str]) -> None:
    findings = Findings()
    checks.check_boot_room(whole(**seen), host(min_free_boot_mb=40), FILES, AT, findings)
    expect(findings, expected)


def cache(**settings: Any) -> CacheConfig:
    values = {"url": "https://cache.example.org/ours", "public_key": "ours-1:AAAA", "writers": WriterClass.PROTECTED}
    return CacheConfig.model_validate(values | settings)


KNOWS = {"substituters": "https://cache.example.org/ours/ https://other", "trusted-public-keys": "x-1:BBBB"}


@pytest.mark.parametrize(
    ("settings", "of_cache", "of_host", "expected"),
    [
        pytest.param(KNOWS, {}, {}, "does not trust the key ours-1 of the cache ours", id="a key is missing"),
        pytest.param(KNOWS | {"trusted-public-keys": "x:B ours-1:AAAA"}, {}, {}, "", id="the key is there"),
        pytest.param(
            KNOWS | {"trusted-public-keys": "ours-1:CC"}, {}, {}, "knows another key of that name", id="other"
        ),
        pytest.param(KNOWS | {"require-sigs": "false"}, {}, {}, "", id="no signatures are needed"),
        pytest.param(KNOWS, {"public_key": None}, {}, "", id="a cache without a key"),
        pytest.param(KNOWS | {"substituters": "https://x"}, {}, {}, "", id="a cache that it does not know"),
        pytest.param(KNOWS | {"substituters": "https://x"}, {"publish": True}, {}, "key ours-1", id="published for it"),
        pytest.param(KNOWS, {}, {"substitute": False}, "", id="it is not to fetch"),
        pytest.param({}, {}, {}, "", id="it does not say"),
        pytest.param(
            {"trusted-users": "root @wheel"},
            {},
            {"engine": "nixos-rebuild", "user": "d"},
            "d is not trusted",
            id="user",
        ),
        pytest.param({"trusted-users": "root @admin"}, {}, {"engine": "nixos-rebuild", "user": "d"}, "", id="a group"),
        pytest.param({"trusted-users": "root"}, {}, {"user": "d"}, "", id="copied as root"),
    ],
)
def test_the_host_should_trust_who_signs(
    settings: dict[str, str], of_cache: dict[str, Any], of_host: dict[str, Any], expected: str
) -> None:
    seen = whole(settings=settings, groups=("users", "admin"))
    warnings = checks.check_trust(seen, host(**of_host), {"ours": cache(**of_cache)}, AT)
    assert len(warnings) == bool(expected)
    assert expected in "".join(warnings)


@pytest.mark.parametrize(
    ("policy", "action", "instead", "expected"),
    [
        pytest.param("refuse", "switch", None, {"refusal": "not possible while the host runs: a: 1 → 2"}, id="refuse"),
        pytest.param("refuse", "boot", None, {}, id="at the next boot anyway"),
        pytest.param("refuse", "dry-activate", None, {}, id="nothing is switched"),
        pytest.param("boot", "switch", "boot", {"warning": "the next boot takes the new system"}, id="boot"),
        pytest.param("reboot", "switch", "reboot", {"warning": "the host is rebooted into it"}, id="reboot"),
        pytest.param("reboot", "test", None, {"refusal": "not possible"}, id="a test is for now"),
        pytest.param("force", "switch", None, {"warning": "it is done all the same"}, id="force"),
        pytest.param("force", "test", None, {"warning": "it is done all the same"}, id="force a test"),
    ],
)
def test_what_cannot_be_switched_to_live(
    policy: str, action: str, instead: str | None, expected: dict[str, str]
) -> None:
    findings = Findings()
    assert checks_of_change.check_inhibitors(["a: 1 → 2"], host(on_inhibitor=policy), action, findings) == instead
    expect(findings, expected)
    assert checks_of_change.check_inhibitors([], host(on_inhibitor=policy), action, Findings()) is None


@pytest.mark.parametrize(
    ("policy", "action", "expected"),
    [
        ("warn", "switch", {"warning": "rebooted before it uses the new kernel"}),
        ("fail", "switch", {"warning": "rebooted before it uses the new kernel"}),
        ("ignore", "switch", {}),
        ("warn", "reboot", {}),
        ("warn", "boot", {}),
    ],
)
def test_a_reboot_that_is_needed_is_told(policy: str, action: str, expected: dict[str, str]) -> None:
    findings = Findings()
    checks_of_change.check_reboot(["kernel"], host(on_reboot_needed=policy), action, findings)
    expect(findings, expected)


@pytest.mark.parametrize(
    ("seen", "answer", "policy", "expected"),
    [
        pytest.param({"revision": THEIRS}, True, "refuse", {"refusal": "of a later commit"}, id="later"),
        pytest.param({"revision": THEIRS}, True, "warn", {"warning": "of a later commit"}, id="later, and that may be"),
        pytest.param({"revision": THEIRS}, False, "refuse", {}, id="not later"),
        pytest.param({"revision": THEIRS}, None, "refuse", {"note": "is not known here"}, id="nobody knows"),
        pytest.param({"revision": OURS}, True, "refuse", {}, id="the same"),
        pytest.param({"revision": f"{THEIRS}-dirty"}, True, "refuse", {}, id="of no commit"),
        pytest.param({"revision": "--all"}, True, "refuse", {}, id="hostile"),
        pytest.param(
            {"deployed": {"system": OLD, "revision": THEIRS}}, True, "refuse", {"refusal": THEIRS}, id="record"
        ),
        pytest.param({"deployed": {"system": OTHER, "revision": THEIRS}}, True, "refuse", {}, id="record of another"),
        pytest.param(
            {"deployed": {"system": OLD, "revision": THEIRS}, "revision": OURS},
            True,
            "refuse",
            {"refusal": THEIRS},
            id="x",
        ),
    ],
)
def test_a_later_commit_is_not_undone(
    seen: dict[str, Any], answer: bool | None, policy: str, expected: dict[str, str]
) -> None:
    findings = Findings()
    checks_of_change.check_newer(whole(**seen), host(on_newer=policy), OURS, lambda _: answer, AT, findings)
    expect(findings, expected)


def test_a_commit_of_our_own_that_is_not_known_is_compared_with_nothing() -> None:
    findings = Findings()
    checks_of_change.check_newer(whole(revision=THEIRS), host(), None, lambda _: True, AT, findings)
    expect(findings, {})


def runs(running: str, profile: str | None = None) -> dict[str, Any]:
    return {"state": HostState(running=running, profile=profile or running)}


@pytest.mark.parametrize(
    ("seen", "policy", "expected"),
    [
        pytest.param(runs(OLD) | {"deployed": {"system": OLD}}, "warn", {}, id="what we brought"),
        pytest.param(runs(OLD), "refuse", {"note": "was never deployed by pipelinegen"}, id="never ours"),
        pytest.param(
            runs(OTHER) | {"deployed": {"system": OLD}}, "warn", {"warning": "no pipeline brought"}, id="drift"
        ),
        pytest.param(runs(OTHER) | {"deployed": {"system": OLD}}, "refuse", {"refusal": "no pipeline"}, id="refused"),
        pytest.param(runs(OTHER) | {"deployed": {"system": OLD}}, "ignore", {}, id="ignored"),
        pytest.param(runs(NEW) | {"deployed": {"system": OLD}}, "warn", {}, id="it runs ours already"),
        pytest.param(
            runs(OLD, OTHER) | {"deployed": {"system": OLD}},
            "warn",
            {"warning": "the next boot of"},
            id="the next boot",
        ),
        pytest.param(
            runs(OTHER, OLD) | {"deployed": {"system": OLD, "previous": OTHER}},
            "warn",
            {},
            id="a boot that it waits for",
        ),
        pytest.param(
            runs(OTHER, OLD) | {"deployed": {"system": OLD}, "last": {"system": OTHER, "result": "confirmed"}},
            "warn",
            {},
            id="a test of ours",
        ),
        pytest.param(
            runs(OTHER, OLD) | {"deployed": {"system": OLD}, "last": {"system": OTHER, "result": "restored"}},
            "warn",
            {"warning": "no pipeline brought"},
            id="a test that was undone",
        ),
    ],
)
def test_what_no_pipeline_brought_there_is_seen(seen: dict[str, Any], policy: str, expected: dict[str, str]) -> None:
    findings = Findings()
    checks_of_change.check_drift(whole(**seen), NEW, host(on_drift=policy), AT, findings)
    expect(findings, expected)


def test_where_nixos_rebuild_switches_nobody_keeps_a_record() -> None:
    findings = Findings()
    seen = whole(**runs(OTHER), deployed={"system": OLD})
    checks_of_change.check_drift(seen, NEW, host(engine="nixos-rebuild", on_drift="refuse"), AT, findings)
    expect(findings, {})


def last(**values: str) -> dict[str, Any]:
    record = {"id": "p-1", "phase": "ended", "result": "confirmed", "system": NEW, "boot_id": "now"}
    return {"last": record | values}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param({}, {}, id="there was none"),
        pytest.param(last(), {}, id="it went well"),
        pytest.param(last(result="refused"), {}, id="it did not begin"),
        pytest.param(
            last(result="restored", reason="no sign of life for 30 s"),
            {"warning": "(p-1 of /nix/store/new) was undone: no sign of life for 30 s"},
            id="nobody confirmed it",
        ),
        pytest.param(last(result="restore-failed"), {"warning": "could not be brought back"}, id="no way back"),
        pytest.param(last(result="boot-failed"), {"warning": "could not be made the one to boot"}, id="no boot"),
        pytest.param(last(action="restore", result="restored"), {}, id="a way back that went well"),
        pytest.param(
            last(phase="waiting", result="", boot_id="then"),
            {"warning": "was ended by a reboot (phase: waiting)"},
            id="reboot",
        ),
        pytest.param(last(phase="activating", result=""), {"warning": "never came to its end"}, id="it was killed"),
        pytest.param(last(phase="activating", result="") | {"locks": ("ours",)}, {}, id="it goes on"),
    ],
)
def test_what_nobody_heard_is_told_the_next_time(seen: dict[str, Any], expected: dict[str, str]) -> None:
    findings = Findings()
    checks_of_change.check_last(whole(**seen), AT, findings)
    expect(findings, expected)
