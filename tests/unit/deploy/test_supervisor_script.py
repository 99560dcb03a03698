"""The supervisor's script in a shell of this machine, in a folder that stands for the host's root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import pytest

from pipelinegen.deploy import supervisor
from pipelinegen.deploy.state import records
from pipelinegen.deploy.supervisor import Order
from tests.unit.deploy.local_host import LocalHost

pytestmark = pytest.mark.processes

ID = "pipelinegen-00000001"
SHELLS = [["dash"], ["bash", "--posix"]]
PLACES = ("/run/", "/var/lib/pipelinegen", "/nix/var/")
SWITCH = """\
#!/bin/sh
here=${0%/bin/*}
echo "$1 ${NIXOS_NO_CHECK-} $(umask)" >> "$here.log"
[ "$1" != test ] || ln -sfn "$here" "ROOT/run/current-system"
[ ! -e "$here.then" ] || . "$here.then"
"""
NIX_ENV = """\
#!/bin/sh
ln -sfn "$4" "$2"
"""


@dataclass
class Root:
    """A host's root, of which only what the script touches is there."""

    path: Path
    shell: list[str]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.path / "run/pipelinegen" / ID

    def system(self, name: str, then: str = "") -> str:
        """A system that can be switched to; `then` are lines that its switch runs in the end."""
        here = self.path / name
        for program, text in (("bin/switch-to-configuration", SWITCH), ("sw/bin/nix-env", NIX_ENV)):
            (here / program).parent.mkdir(parents=True, exist_ok=True)
            (here / program).write_text(text.replace("ROOT", str(self.path)))
            (here / program).chmod(0o755)
        if then:
            here.with_name(f"{name}.then").write_text(then + "\n")
        return str(here)

    def switched(self, name: str) -> list[str]:
        """How a system was switched to: action, NIXOS_NO_CHECK, umask."""
        return (self.path / f"{name}.log").read_text().splitlines()

    def runs_and_boots(self) -> tuple[str, str]:
        names = (self.path / "run/current-system", self.path / "nix/var/nix/profiles/system")
        return names[0].resolve().name, names[1].resolve().name

    def start(self, system: str, **more: object) -> None:
        """Start the script on an order; what runs now is what it is to return to."""
        old = str(self.path / "old")
        values = {"action": "switch", "system": system, "previous": old, "previous_profile": old, **more}
        order = Order(**{"activation_seconds": 5, "confirm_seconds": 2, **values})  # type: ignore[arg-type]
        text = files("pipelinegen.deploy").joinpath("supervisor.sh").read_text()
        for place in PLACES:
            text = text.replace(place, f"{self.path}{place}")
        self.folder.mkdir(parents=True)
        (self.folder / "order").write_text(order.text())
        (self.folder / "run").write_text(text)
        command = [*self.shell, str(self.folder / "run"), str(self.folder)]
        with (self.path / "journal").open("wb") as journal:
            self.started.append(subprocess.Popen(command, stdout=journal, stderr=journal, start_new_session=True))

    def until(self, good: Callable[[dict[str, list[str]]], bool], seconds: float = 60) -> dict[str, list[str]]:
        """What it says of itself, as soon as that is as it should be."""
        end = time.monotonic() + seconds
        while True:
            said = self.said()
            if good(said):
                return said
            assert time.monotonic() < end, (said, (self.path / "journal").read_text())
            time.sleep(0.05)

    def said(self) -> dict[str, list[str]]:
        places = (self.folder / "status", self.path / "var/lib/pipelinegen/activations" / ID)
        place = next((one for one in places if one.exists()), None)
        return records(place.read_text().partition("end=")[0]) if place else {}

    def ended(self) -> tuple[str, str]:
        said = self.until(lambda said: said.get("phase") == ["ended"])
        assert self.started[-1].wait(60) == 0
        return said["result"][0], said["reason"][0]


@pytest.fixture(params=SHELLS, ids=lambda shell: str(shell[0]))
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Root]:
    shell: list[str] = request.param
    if shutil.which(shell[0]) is None or shutil.which("flock") is None:
        pytest.skip(f"{shell[0]} or flock is not installed")
    for folder in ("run/pipelinegen", "nix/var/nix/profiles", "nix/var/nix/gcroots"):
        (tmp_path / folder).mkdir(parents=True)
    root = Root(tmp_path, shell)
    old = root.system("old")
    (tmp_path / "run/current-system").symlink_to(old)
    (tmp_path / "nix/var/nix/profiles/system").symlink_to(old)
    yield root
    for one in root.started:
        if one.poll() is None:
            os.killpg(one.pid, signal.SIGKILL)
            one.wait()


def waiting(said: dict[str, list[str]]) -> bool:
    return said.get("phase") == ["waiting"]


def test_silence_leads_back_and_our_word_leads_on(root: Root) -> None:
    root.start(root.system("new"))
    assert root.ended() == ("restored", "nobody confirmed it: no sign of life for 2 s")
    assert root.runs_and_boots() == ("old", "old")
    shutil.rmtree(root.folder)
    root.start(root.system("new"), confirm_seconds=60)
    root.until(waiting)
    (root.folder / "decision").write_text("confirm\n")
    assert root.ended() == ("confirmed", "")
    assert root.runs_and_boots() == ("new", "new")
    assert list((root.path / "nix/var/nix/gcroots/pipelinegen").iterdir()) == []


def test_without_nixos_lock_it_waits_all_the_same(root: Root) -> None:
    root.start(root.system("new", f"rm -rf {root.path}/run/nixos; : > {root.path}/run/nixos"))
    assert root.ended() == ("restored", "nobody confirmed it: no sign of life for 2 s")
    assert root.runs_and_boots() == ("old", "old")


def test_where_no_decision_can_be_written_its_own_counts(root: Root) -> None:
    root.start(root.system("new"))
    root.until(waiting)
    shutil.rmtree(root.folder)
    assert root.ended() == ("restored", "nobody confirmed it: no sign of life for 2 s")
    assert root.runs_and_boots() == ("old", "old")


def test_where_its_status_cannot_be_written_the_record_tells(root: Root) -> None:
    root.start(root.system("new", f"mkdir {root.folder}/status.new"))
    assert root.ended() == ("restored", "nobody confirmed it: no sign of life for 2 s")


def test_nothing_forbids_the_way_back(root: Root) -> None:
    root.start(root.system("new"))
    root.ended()
    assert [line.split()[:-1] for line in root.switched("new")] == [["test"]]
    assert [line.split()[:-1] for line in root.switched("old")] == [["test", "1"]]


def test_switches_make_files_that_others_may_read(root: Root) -> None:
    root.start(root.system("new"))
    root.ended()
    assert {line.split()[-1] for line in root.switched("new") + root.switched("old")} == {"0022"}


def test_a_profile_that_cannot_be_set_in_time_is_a_verdict(root: Root) -> None:
    hanging = root.path / "old/sw/bin/nix-env"
    hanging.write_text("#!/bin/sh\nexec sleep 100\n")
    root.start(root.system("new"), activation_seconds=1, confirm_seconds=60)
    root.until(waiting)
    (root.folder / "decision").write_text("confirm\n")
    assert root.ended() == ("boot-failed", "the profile could not be set")
    assert root.runs_and_boots() == ("new", "old")


def test_what_cannot_be_brought_back_now_is_what_the_next_boot_takes(root: Root) -> None:
    old, new = root.system("old", '[ "$1" != test ] || exit 2'), root.system("new")
    for link in ("run/current-system", "nix/var/nix/profiles/system"):
        (root.path / link).unlink()
        (root.path / link).symlink_to(new)
    root.start(old, action="restore", previous=new)
    assert root.ended() == ("restore-failed", "switch-to-configuration test ended with 2")
    assert root.runs_and_boots()[1] == "old"
    assert [line.split()[0] for line in root.switched("old")] == ["test", "boot"]


def test_a_lock_that_is_about_to_be_let_go_is_waited_for(root: Root) -> None:
    holder = subprocess.Popen(["flock", str(root.path / "run/pipelinegen/lock"), "sleep", "0.8"])
    time.sleep(0.3)
    root.start(root.system("new"))
    assert root.ended()[0] == "restored"
    assert holder.wait(5) == 0


@pytest.mark.parametrize(("recorded", "begins"), [(False, True), (True, False)])
def test_what_a_reboot_ended_does_not_begin_again(tmp_path: Path, recorded: bool, begins: bool) -> None:
    (tmp_path / "systemd-run").write_text(f"#!/bin/sh\n: > {tmp_path}/ran\n")
    (tmp_path / "systemd-run").chmod(0o755)
    record = tmp_path / "var/lib/pipelinegen/activations" / ID
    record.parent.mkdir(parents=True)
    if recorded:
        record.write_text("phase=activating\nend=\n")
    script = supervisor._START.replace("/run/pipelinegen", f"{tmp_path}/run/pipelinegen")
    LocalHost(root=tmp_path, path=tmp_path).run(script, ID, "action=switch\n", "exit 0\n")
    assert (tmp_path / "ran").exists() is begins
