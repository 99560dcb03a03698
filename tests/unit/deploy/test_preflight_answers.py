"""What a host is asked, run by a real shell, and what becomes of its answers."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pipelinegen.deploy.preflight_answers import Closures, Seen, ask_closures, closures, seen
from pipelinegen.deploy.preflight_scripts import CLOSURES, LOGIN, ROOT
from pipelinegen.deploy.ssh import Target, UnreachableError, envelope
from pipelinegen.process import Completed

A, B, C = (f"/nix/store/{letter * 32}-{name}" for letter, name in (("a", "a-1"), ("b", "b-2"), ("c", "c-3")))
TARGET = Target("web1")

_PLACES = re.compile(r"(?<![\w/])/(?=(?:run|nix/var|nix/store|var/lib|boot|etc/NIXOS)\b)")

_PROGRAMS = {
    "systemctl": 'case $1 in is-system-running) echo running ;; is-active) cat "$FAKE/rebuild" ;; esac',
    "nix-store": """\
case "$*" in
  --version) echo 'nix-store (Nix) 2.18.1' ;;
  *print-invalid*) for path in "$@"; do if grep -qx -e "$path" "$FAKE/missing"; then echo "$path"; fi; done ;;
  *requisites*) cat "$FAKE/closure" ;;
  *size*) shift 2; for path in "$@"; do echo 1000; done ;;
esac
""",
    "nix": """\
case "$*" in
  *'config show') exit 1 ;;
  *show-config) printf '%s\\n' 'cores = 2' 'substituters = https://a https://b' 'trusted-public-keys = ' ;;
  *'https://b') exit 1 ;;
esac
""",
}


@pytest.fixture(params=["sh", "bash"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder that stands for a host's root, with programs that answer as a host's do; `sh` is bash on NixOS."""
    root = tmp_path / "root"
    for folder in ("run/systemd/system", "run/pipelinegen", "run/nixos", "nix/var/nix/profiles", "boot", "nix/store"):
        (root / folder).mkdir(parents=True)
    for folder in ("var/lib/pipelinegen/activations", "system/bin", "system/etc/systemd/system", "programs"):
        (root / folder).mkdir(parents=True)
    for name, text in _PROGRAMS.items():
        program = root / "programs" / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    shell = shutil.which(request.param)
    if shell is None:
        pytest.skip(f"there is no {request.param}")
    (root / "programs/sh").symlink_to(shell)
    (root / "rebuild").write_text("inactive\n")
    (root / "missing").write_text("")
    (root / "closure").write_text(f"{A}\n{B}\n")
    (root / "run/current-system").symlink_to(root / "system")
    (root / "run/booted-system").symlink_to(root / "system")
    (root / "nix/var/nix/profiles/system-7-link").symlink_to(root / "system")
    (root / "nix/var/nix/profiles/system").symlink_to("system-7-link")
    return root


def moved(root: Path, script: str) -> str:
    """The script, with `root` for its root folder."""
    return _PLACES.sub(f"{root}/", script)


def run(root: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": f"{root}/programs:{os.environ['PATH']}", "FAKE": str(root)}
    text = envelope(script, *arguments)
    return subprocess.run(["sh", "-s"], input=text, env=env, text=True, capture_output=True, check=True)


def look(root: Path) -> Seen:
    done = run(root, moved(root, LOGIN), envelope(moved(root, ROOT)))
    return seen(done.stdout, done.stderr.splitlines())


@pytest.mark.processes
def test_a_host_says_all_of_it_over_one_connection(machine: Path) -> None:
    (machine / "system/kernel-params").write_text("quiet\n")
    (machine / "system/switch-inhibitors").write_text('{\n  "a": "1"\n}\n')
    (machine / "system/systemd").symlink_to(machine / "nix")
    (machine / "system/etc/systemd/system/dbus.service").write_text("ExecStart=@/x/bin/dbus-daemon @dbus-daemon\n")
    (machine / "var/lib/pipelinegen/deployed").write_text("id=pipelinegen-1\nsystem=/nix/store/x\nend=\n" + "\n" * 50)
    (machine / "var/lib/pipelinegen/activations/pipelinegen-2").write_text("id=pipelinegen-2\nreason=a=b\nend=\nid=x\n")
    found = look(machine)
    assert found.root
    assert found.whole
    assert found.systemd
    assert found.flock
    assert found.nix == "nix-store (Nix) 2.18.1"
    assert found.state is not None
    assert found.state.running == found.state.profile == str(machine / "system")
    assert found.state.generation == 7
    assert found.deployed == {"id": "pipelinegen-1", "system": "/nix/store/x"}
    assert found.last == {"id": "pipelinegen-2", "reason": "a=b"}
    assert found.running == found.booted == found.profile
    assert found.running == {
        "kernel-params": "quiet ",
        "switch-inhibitors": '{   "a": "1" } ',
        "systemd": str(machine / "nix"),
        "dbus": "dbus-daemon",
    }
    assert found.settings == {"substituters": "https://a https://b", "trusted-public-keys": ""}
    assert found.locks == ()
    assert found.free_store
    assert found.free_boot


@pytest.mark.processes
def test_a_host_with_nothing_of_it_answers_as_well(machine: Path) -> None:
    for folder in ("var", "boot", "run/booted-system", "nix/var/nix/profiles/system", "run/pipelinegen"):
        path = machine / folder
        path.unlink() if path.is_symlink() else shutil.rmtree(path)
    found = look(machine)
    assert found.whole
    assert (found.free_boot, found.deployed, found.last) == (None, {}, {})
    assert found.state is not None
    assert found.state.profile is None


@pytest.mark.processes
def test_a_file_system_that_is_not_there_yet_has_no_room_that_is_known(machine: Path) -> None:
    program = machine / "programs/df"
    program.write_text("#!/bin/sh\nprintf '%s\\n' 'Filesystem 1024-blocks Used Available' 'systemd-1 0 0 0 - /boot'\n")
    program.chmod(0o755)
    found = look(machine)
    assert found.whole
    assert (found.free_store, found.free_boot) == (None, None)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("held", "rebuild", "expected"),
    [
        pytest.param("run/pipelinegen/lock", "inactive", ("ours",), id="ours"),
        pytest.param("run/nixos/switch-to-configuration.lock", "inactive", ("system",), id="that of NixOS"),
        pytest.param(None, "activating", ("nixos-rebuild",), id="nixos-rebuild"),
        pytest.param(None, "failed", (), id="nobody"),
    ],
)
def test_a_lock_counts_as_long_as_somebody_holds_it(
    machine: Path, held: str | None, rebuild: str, expected: tuple[str, ...]
) -> None:
    for name in ("run/pipelinegen/lock", "run/nixos/switch-to-configuration.lock"):
        (machine / name).write_text("")
    (machine / "run/pipelinegen/holder").write_text("pipelinegen-00000001\n")
    (machine / "rebuild").write_text(f"{rebuild}\n")
    with (machine / (held or "missing")).open() as file:
        if held is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        found = look(machine)
    assert found.locks == expected
    assert found.holder == "pipelinegen-00000001"


@pytest.mark.processes
def test_a_host_says_what_it_lacks_and_which_caches_it_cannot_reach(machine: Path) -> None:
    (machine / "missing").write_text(f"{C}\n")
    script = moved(machine, CLOSURES).replace("PATHS", f"{A}\n{C}")
    found = closures(TARGET, run(machine, script, "", "https://a", "https://b").stdout, frozenset([A, C]))
    assert found == Closures(missing=(C,), unreachable=("https://b",), running={A: 1000, B: 1000})


@pytest.mark.processes
def test_caches_are_let_be_where_nothing_is_missing(machine: Path) -> None:
    script = moved(machine, CLOSURES).replace("PATHS", A)
    assert closures(TARGET, run(machine, script, "", "https://b").stdout, frozenset([A])).unreachable == ()


@pytest.mark.processes
def test_of_a_system_that_only_it_has_the_host_says_the_rest(machine: Path) -> None:
    switch = machine / "system/bin/switch-to-configuration"
    switch.write_text("")
    switch.chmod(0o755)
    (machine / "system/etc/hostname").write_text("web1\n")
    (machine / "system/system").write_text("x86_64-linux")
    (machine / "system/kernel-params").write_text("quiet")
    done = run(machine, moved(machine, CLOSURES).replace("PATHS", A), str(machine / "system"))
    found = closures(TARGET, done.stdout, frozenset([A]))
    assert (found.switches, found.hostname, found.platform) == (True, "web1", "x86_64-linux")
    assert found.facts == {"kernel-params": "quiet"}
    assert found.new == {A: 1000, B: 1000}


def test_what_is_not_as_expected_is_absent() -> None:
    found = seen("root=yes\nfree_store=-\njobs=many\nlocked=ours\nlocked=ours\n")
    assert (found.free_store, found.locks, found.whole) == (None, ("ours",), False)
    assert found.state is not None
    assert found.state.pending == 0


def test_a_host_cannot_invent_keys() -> None:
    assert seen("deployed.\x1b[2J=x\ndeployed.system=/nix/store/x\x1b[2J\n").deployed == {"system": "/nix/store/x"}


def test_what_sudo_says_is_kept_and_harmless() -> None:
    assert (
        seen("uid=1000\n", ["a", "sudo: \x1b[2Ja password is required", ""]).refusal == "sudo: a password is required"
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"running.path={A}\ndone=yes\n", id="a path without its size"),
        pytest.param("running.path=--option\nrunning.size=1\ndone=yes\n", id="no path"),
        pytest.param(f"running.path={A}\nrunning.size=-1\ndone=yes\n", id="no size"),
        pytest.param("done=yes\n", id="nothing"),
    ],
)
def test_a_closure_that_makes_no_sense_is_not_known(text: str) -> None:
    assert closures(TARGET, text, frozenset()).running is None


class Liar(Target):
    """Says that a path is missing, whatever is asked."""

    def run(self, *_: object, **__: object) -> Completed:
        return Completed(0, f"missing={B}\ndone=yes\n".encode(), ())


def test_a_host_cannot_name_a_path_that_it_was_not_asked_for() -> None:
    assert ask_closures(Liar("web1"), [A, B]).missing == (B,)
    with pytest.raises(UnreachableError, match="does not answer what it was asked"):
        ask_closures(Liar("web1"), [A])


def test_half_an_answer_is_none() -> None:
    with pytest.raises(UnreachableError, match="to the end"):
        closures(TARGET, f"missing={A}\n", frozenset([A]))
