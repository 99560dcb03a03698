"""The journal of an activation and probes on the host, with a real machine: journald, a flood, a cut cable."""

from __future__ import annotations

import http.server
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipelinegen.config_hosts import Probe
from pipelinegen.console import Console
from pipelinegen.deploy import health, journal
from pipelinegen.deploy.journal import Journal
from pipelinegen.deploy.report import UnitChanges
from pipelinegen.deploy.ssh import Target, UnreachableError
from tests.lab.conftest import MakeHost
from tests.lab.host import Host

pytestmark = [pytest.mark.lab]

PREFIX = "| "


@dataclass
class Reader:
    """A journal that is read, and what people see of it."""

    host: Host
    unit: str
    shown: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self.journal = Journal(target(self.host), f"{self.unit}.service", Console(self.shown), prefix=PREFIX)

    @property
    def lines(self) -> list[str]:
        """What the unit printed."""
        shown = self.shown.getvalue().splitlines()
        return [line.removeprefix(PREFIX) for line in shown if line.startswith(PREFIX)]

    def to_the_end(self) -> None:
        """Read as long as anything is new once the unit has ended."""
        self.host.ssh(f"while systemctl is-active --quiet {self.unit}; do sleep 0.1; done")
        while self.journal.read(last=True):
            pass

    def truth(self) -> list[str]:
        """What the machine's own journal holds of the unit's words."""
        said = self.host.ssh(f"journalctl --unit={self.unit} _SYSTEMD_UNIT={self.unit}.service -o cat --no-pager")
        return said.stdout.splitlines()


def target(host: Host) -> Target:
    return Target(host.address, key_file=host.ssh_key, known_hosts=host.known_hosts)


@pytest.fixture
def start(host: Host, request: pytest.FixtureRequest) -> Callable[[str], Reader]:
    """Starts a shell script as a unit of its own, as the supervisor is."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:60].strip("-")

    def begin(script: str) -> Reader:
        host.ssh(f"cat > /run/{name}.sh", stdin=script.encode())
        host.ssh(f"systemd-run --unit={name} --service-type=exec --collect --quiet /bin/sh /run/{name}.sh")
        return Reader(host, name)

    return begin


def test_what_a_unit_says_is_shown_while_it_runs(start: Callable[[str], Reader]) -> None:
    reader = start(
        "echo 'restarting the following units: a.service'; while [ ! -e /run/go ]; do sleep 0.1; done; echo b"
    )
    end = time.monotonic() + 10
    while not reader.journal.read():
        assert time.monotonic() < end
    assert reader.lines == ["restarting the following units: a.service"]
    reader.host.ssh("touch /run/go")
    reader.to_the_end()
    assert reader.lines == reader.truth() == ["restarting the following units: a.service", "b"]
    assert reader.journal.units == UnitChanges(restarted=("a.service",))
    # systemd's own "Started …" and "Deactivated …" are in the journal, and not here.
    assert "Started" in reader.host.read(f"journalctl --unit={reader.unit}")


def test_words_of_systemd_that_a_person_must_know_are_shown(start: Callable[[str], Reader]) -> None:
    reader = start("echo begins; sleep 0.5; kill -9 $$")
    reader.to_the_end()
    assert reader.lines[0] == "begins"
    assert any("status=9/KILL" in line for line in reader.lines)


def test_output_that_is_no_text_is_shown_harmless(start: Callable[[str], Reader]) -> None:
    reader = start(
        r"""
        printf 'caf\303\251 \377\376 end\n'
        printf '\033[31mred\033[0m \033[2Jgone\007 section_end:1:x\n'
        printf '\000zero\n'
        head -c 40000 /dev/zero | tr '\0' x; echo
        head -c 20000 /dev/zero | tr '\0' '\377'; echo
        head -c 200000 /dev/zero | tr '\0' y; echo
        echo last
        """
    )
    reader.to_the_end()
    lines = reader.lines
    assert lines[0] == "café \ufffd\ufffd end"
    assert lines[1] == "red gone section-end:1:x"
    assert lines[-1] == "last"
    assert any("(40000 characters)" in line and line.startswith("xxx") for line in lines)
    assert any("(20000 characters)" in line and line.startswith("\ufffd") for line in lines)
    assert "\x1b" not in reader.shown.getvalue()
    assert "section_end:" not in reader.shown.getvalue()
    assert len(reader.shown.getvalue()) < 60_000


def test_an_entry_of_several_lines_or_beyond_measure_does_not_stop_the_reading(start: Callable[[str], Reader]) -> None:
    reader = start("echo first; sleep 1; echo last; sleep 3")
    # By journald's own protocol anything may be sent; what is too large for a page is passed over.
    reader.host.ssh(
        f"printf 'OBJECT_PID=%s\nMESSAGE=two\nPRIORITY=6\n' "
        f"$(systemctl show --value -p MainPID {reader.unit}) | logger --journald; "
        f"head -c 3000000 /dev/zero | tr '\\0' z > /run/large; "
        f"{{ printf 'OBJECT_PID=%s\nPRIORITY=6\nMESSAGE=' $(systemctl show --value -p MainPID {reader.unit}); "
        "cat /run/large; echo; } | logger --journald"
    )
    reader.to_the_end()
    assert reader.lines[0] == "first"
    assert "two" in reader.lines
    assert "last" in reader.lines
    large = reader.host.read(f"journalctl --unit={reader.unit} -o json --all | wc -L")
    if int(large) > journal.PAGE_BYTES:
        assert sum("an entry of more than" in line for line in reader.lines) == 1


@pytest.mark.time_limit(180)
def test_a_flood_loses_no_line_and_repeats_none(
    host: Host, start: Callable[[str], Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    host.ssh(
        "mkdir -p /run/systemd/journald.conf.d; printf '[Journal]\nRateLimitIntervalSec=0\n' "
        "> /run/systemd/journald.conf.d/flood.conf; systemctl restart systemd-journald"
    )
    reader = start("seq 1 30000")
    reader.to_the_end()
    assert reader.lines == reader.truth() == [str(number) for number in range(1, 30001)]
    assert reader.journal.log == tuple(str(number) for number in range(29951, 30001))

    # The same with little room: the log of the job is spared, its last lines are still known.
    monkeypatch.setattr(journal, "SHOWN_CHARACTERS", 10_000)
    again = Reader(host, reader.unit)
    again.to_the_end()
    assert len(again.shown.getvalue()) < 10_200
    assert again.lines[-1].startswith("… the rest is not shown here")
    assert again.journal.log == reader.journal.log


@pytest.mark.time_limit(180)
def test_a_cut_network_loses_no_line_and_repeats_none(host: Host, start: Callable[[str], Reader]) -> None:
    reader = start("for i in $(seq 1 300); do echo line $i; sleep 0.05; done")
    lost = 0
    for cut in (True, False, True, False):
        end = time.monotonic() + (4 if cut else 2)
        if cut:
            host.cut_network()
        else:
            host.restore_network()
        while time.monotonic() < end:
            try:
                reader.journal.read()
            except UnreachableError:
                lost += 1
    reader.to_the_end()
    assert lost
    assert reader.lines == reader.truth() == [f"line {number}" for number in range(1, 301)]


def test_a_journald_that_is_restarted_or_gone_for_a_while_costs_nothing(
    host: Host, start: Callable[[str], Reader]
) -> None:
    reader = start("for i in $(seq 1 40); do echo line $i; sleep 0.1; done")
    for _ in range(3):
        host.ssh("systemctl restart systemd-journald")
        reader.journal.read()
    host.ssh(
        "systemctl stop systemd-journald.socket systemd-journald-dev-log.socket systemd-journald.service", check=False
    )
    reader.journal.read()
    host.ssh("systemctl start systemd-journald.socket systemd-journald.service")
    reader.to_the_end()
    # What a unit prints after journald was stopped is in no journal.
    assert reader.lines == reader.truth()
    assert len(reader.lines) == len(set(reader.lines)) > 5
    assert "warning" not in reader.shown.getvalue()


def test_a_host_that_keeps_no_journal_is_told_once(make_host: MakeHost) -> None:
    machine = make_host("web2")
    machine.ssh(
        "mkdir -p /run/systemd/journald.conf.d; printf '[Journal]\nStorage=none\n' "
        "> /run/systemd/journald.conf.d/none.conf; systemctl restart systemd-journald; "
        "rm -rf /var/log/journal /run/log/journal; systemd-run --unit=said --collect --quiet /bin/echo words"
    )
    reader = Reader(machine, "said")
    for _ in range(3):
        assert not reader.journal.read()
    assert reader.shown.getvalue().count("warning") == 1
    assert "the host keeps none" in reader.shown.getvalue()
    # Nor does one without journalctl break anything.
    machine.ssh("mount --bind /bin/false /bin/journalctl")
    assert not reader.journal.read()


@dataclass
class Website:
    """A server on this computer that the machine can ask; it fails `failures` times first."""

    server: http.server.ThreadingHTTPServer
    failures: int = 0

    @property
    def url(self) -> str:
        return "http://{}:{}/".format(*self.server.server_address[:2])


@pytest.fixture
def website(host: Host) -> Iterator[Website]:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.failures -= 1
            self.send_response(200 if site.failures < 0 else 503)
            self.end_headers()
            self.wfile.write(b"asked by " + self.client_address[0].encode())

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with http.server.ThreadingHTTPServer((host.gateway, 0), Page) as server:
        site = Website(server)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield site
        server.shutdown()
        thread.join()


def asked(host: Host, **probe: Any) -> Any:
    log = io.StringIO()
    return health.ask(Probe(**{"on": "host", "period": "0", **probe}), target(host), Console(log), renew=lambda: None)


def test_a_command_is_asked_on_the_host(host: Host) -> None:
    assert asked(
        host, command="test $(uname -n) = web1 && systemctl is-active ssh.service || systemctl is-active ssh.socket"
    ).passed
    assert asked(host, command="id -un", expect="^root$").passed
    failed = asked(host, command="echo 'no disk' >&2; exit 255", within="1 second")
    assert (failed.passed, failed.said) == (False, "exit code 255: no disk")
    started = time.monotonic()
    late = asked(host, command="echo begins; sleep 50", timeout="1 second", within="1 second")
    assert late.said == "no answer within 1 s: begins"
    assert time.monotonic() - started < 6
    assert host.ssh("pgrep -x sleep -a | grep ' 50$'", check=False).stdout == ""


def test_a_page_is_fetched_by_the_host(host: Host, website: Website) -> None:
    if host.ssh("command -v curl || command -v wget", check=False).returncode != 0:
        missing = asked(host, url=website.url, within="1 second")
        assert "neither curl nor GNU wget is on the host" in missing.said
        return
    website.failures = 2
    well = asked(host, url=website.url, expect=f"asked by {host.address}")
    assert (well.passed, well.tries) == (True, 3)
    assert asked(host, url=website.url, status=(503,), within="1 second").said.startswith("status 200: asked by")
    assert asked(host, on="job", url=website.url, expect=f"asked by {host.gateway}").passed


@pytest.mark.time_limit(180)
def test_a_host_out_of_reach_is_a_failed_try_and_may_come_back(host: Host) -> None:
    with host.network_cut():
        lost = asked(host, command="true", timeout="1 second", within="2 seconds")
    assert not lost.passed
    assert "does not answer" in lost.said or "cannot be reached" in lost.said
    host.cut_network()
    timer = threading.Timer(3, host.restore_network)
    timer.start()
    back = asked(host, command="true", timeout="5 seconds", within="40 seconds")
    timer.join()
    assert back.passed
    assert json.loads(back.model_dump_json())["passed"] is True
