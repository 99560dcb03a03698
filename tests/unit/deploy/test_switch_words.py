"""What switch-to-configuration says of units, in the words of its Perl and Rust forms."""

from __future__ import annotations

import pytest

from pipelinegen.deploy.report import UnitChanges
from pipelinegen.deploy.switch_words import MOST_UNITS, USER, changed, units_named, with_line, would_change

SWITCH = r"""
stopping the following units: accounts-daemon.service, systemd-fsck@dev-disk-by\x2duuid-DCF7.service
NOT restarting the following changed units: display-manager.service, user@1000.service
stopping swap device: /dev/sda2
activating the configuration...
setting up /etc...
restarting systemd...
reloading user units for alice...
restarting the following user units: nixos-activation.service
restarting sysinit-reactivation.target
reloading the following units: dbus.service, -.mount
restarting the following units: nginx.service, polkit.service
NOT restarting (post-activation): seen.service
starting the following units: accounts-daemon.service
the following new units were started: fresh.service, sysinit-reactivation.target
warning: the following units failed: nginx.service

● nginx.service - web server
     Active: failed (Result: exit-code)
Nov 23 10:00:00 web1 old-switch[1]: warning: the following units failed: older.service
"""


def test_a_switch_is_understood_line_by_line() -> None:
    assert changed(SWITCH.splitlines()) == UnitChanges(
        stopped=("accounts-daemon.service", r"systemd-fsck@dev-disk-by\x2duuid-DCF7.service"),
        started=("accounts-daemon.service", "fresh.service", "sysinit-reactivation.target"),
        restarted=("nginx.service", "polkit.service"),
        reloaded=("-.mount", "dbus.service"),
        failed=("nginx.service",),
    )


def test_a_dry_activation_is_no_switch() -> None:
    lines = [
        "would stop swap device: /dev/sda2",
        "would stop the following units: a.service",
        "would NOT stop the following changed units: b.service",
        "would NOT restart the following changed units: b.service",
        "would activate the configuration...",
        "would restart systemd",
        "would reload the following units: c.service",
        "would restart the following units: e.service, d.service",
        "would start the following units: f.service",
    ]
    assert changed(lines) == UnitChanges()
    would = UnitChanges(
        stopped=("a.service",), reloaded=("c.service",), restarted=("d.service", "e.service"), started=("f.service",)
    )
    assert would_change(lines) == would
    assert would_change(SWITCH.splitlines()) == UnitChanges()


@pytest.mark.parametrize(
    ("line", "units"),
    [
        pytest.param(
            "warning: the following units failed: b.service, a.service", ["b.service", "a.service"], id="list"
        ),
        pytest.param("the following units failed: a.service b.service", ["a.service", "b.service"], id="spaces"),
        pytest.param("\x1b[1;33mwarning: the following units failed: a.service\x1b[0m\r", ["a.service"], id="colours"),
        pytest.param("warning: the following user units failed: a.service", [f"a.service{USER}"], id="a user's"),
        pytest.param("Failed to restart user unit a.service: no such unit", [f"a.service{USER}"], id="one of a user"),
        pytest.param("Failed to reload a.service", ["a.service"], id="a job of the Rust form"),
        pytest.param(
            "Job for a.service failed because the control process exited with error code.", ["a.service"], id="a job"
        ),
        pytest.param("A dependency job for a.service failed. See 'journalctl -xe'.", ["a.service"], id="a dependency"),
        pytest.param("Failed to run activate script", [], id="no unit"),
        pytest.param("Failed to start Web Server.", [], id="a description"),
        pytest.param("NOT restarting the following changed units: a.service", [], id="left alone"),
        pytest.param("Nov 1 web1 x[1]: the following units failed: a.service", [], id="quoted by a status"),
        pytest.param("warning: the following units failed: ", [], id="none"),
        pytest.param("warning: the following units failed: <script>, ../../x, a.service", ["a.service"], id="no names"),
        pytest.param("", [], id="nothing"),
    ],
)
def test_only_what_the_switch_says_of_failed_units_counts(line: str, units: list[str]) -> None:
    assert units_named(line) == units


def test_what_is_said_again_counts_once_and_too_much_is_left_out() -> None:
    many = "starting the following units: " + ", ".join(f"a{number}.service" for number in range(MOST_UNITS + 9))
    once = with_line(UnitChanges(), many)
    assert len(once.started) == MOST_UNITS
    assert with_line(once, many) == once
