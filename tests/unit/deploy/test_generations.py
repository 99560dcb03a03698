"""The generations of a host: what it says of them, and to which of them a rollback goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelinegen.deploy.generations import Generation, Generations, chosen, parse, read_generations, table
from pipelinegen.deploy.state import HostState
from pipelinegen.errors import UsageError
from tests.unit.deploy.local_host import LocalHost

A, B, C, D = (f"/nix/store/{letter * 32}-nixos-system-web1" for letter in "abcd")


def generations(*paths: str, at: int, gone: tuple[int, ...] = ()) -> tuple[Generation, ...]:
    """Numbered from 1, newest first; the profile is `at`."""
    made = [
        Generation(number=number, path=path, current=number == at, present=number not in gone)
        for number, path in enumerate(paths, 1)
    ]
    return tuple(reversed(made))


def running(system: str | None, profile: str | None = None) -> HostState:
    return HostState(running=system, profile=profile or system)


@pytest.mark.parametrize(
    ("there", "state", "number"),
    [
        pytest.param(generations(A, B, at=2), running(B), 1, id="the one below"),
        pytest.param(generations(A, B, B, at=3), running(B), 1, id="not one below that holds what runs"),
        pytest.param(generations(A, B, C, at=2), running(B), 1, id="none that is newer than what runs"),
        pytest.param(generations(A, B, A, at=3), running(A), 2, id="from the later of two that hold what runs"),
        pytest.param(generations(A, B, A, C, at=1), running(A), 4, id="nothing is below the first"),
        pytest.param(generations(A, B, C, at=3, gone=(2,)), running(C), 1, id="not one whose system is gone"),
        pytest.param(generations(A, B, at=2), running(D, B), 2, id="what the next boot takes where a test runs"),
        pytest.param(generations(A, B, C, at=3), running(B, C), 1, id="before what runs where another one is to boot"),
        pytest.param(generations(A, B, at=2, gone=(2,)), running(D, B), 1, id="below a profile that is gone"),
        pytest.param(generations(A, B, at=9), running(D, C), 2, id="the newest where the profile says nothing"),
        pytest.param(generations(A, B, at=2), running(None), 2, id="what boots where nothing runs"),
    ],
)
def test_the_previous_generation_is_the_one_before_what_runs(
    there: tuple[Generation, ...], state: HostState, number: int
) -> None:
    if number == 4:
        with pytest.raises(UsageError, match="no generation to roll back to"):
            chosen(there, state, None)
        return
    assert chosen(there, state, None).number == number
    assert chosen(tuple(reversed(there)), state, None).number == number, "their order does not count"


@pytest.mark.parametrize(
    ("there", "system", "why"),
    [
        pytest.param((), B, "no other generation", id="there are none"),
        pytest.param(generations(B, at=1), B, "there are: 1", id="only what runs"),
        pytest.param(generations(A, B, at=2, gone=(1,)), B, "there are: 2, 1", id="the only other one is gone"),
    ],
)
def test_without_a_previous_generation_there_is_nothing_to_go_back_to(
    there: tuple[Generation, ...], system: str, why: str
) -> None:
    with pytest.raises(UsageError, match="no generation to roll back to") as caught:
        chosen(there, running(system), None)
    assert why in (caught.value.why or "")


def test_a_named_generation_is_taken_whichever_it_is() -> None:
    there = generations(A, B, C, at=2)
    assert [chosen(there, running(B), number).path for number in (1, 3)] == [A, C]


@pytest.mark.parametrize(
    ("number", "message", "told"),
    [
        pytest.param(7, "there is no generation 7", "there are: 3, 2, 1", id="not there"),
        pytest.param(1, "the system of generation 1 is gone", "not in the host's store", id="gone"),
        pytest.param(3, "runs the system of generation 3 already", "there are: 2", id="runs already"),
    ],
)
def test_a_generation_that_cannot_be_gone_back_to_is_wrong_use(number: int, message: str, told: str) -> None:
    there = generations(A, B, C, at=3, gone=(1,))
    with pytest.raises(UsageError, match=message) as caught:
        chosen(there, running(C), number)
    assert told in f"{caught.value.why} {caught.value.hint}"


def test_a_generation_that_runs_but_is_not_booted_can_be_gone_back_to() -> None:
    assert chosen(generations(A, B, at=2), running(A, B), 1).path == A


def test_of_many_generations_only_the_newest_are_named() -> None:
    there = generations(*(f"/nix/store/{number}" for number in range(60)), at=60)
    with pytest.raises(UsageError) as caught:
        chosen(there, running(A), 99)
    assert caught.value.why == f"there are: {', '.join(map(str, range(60, 40, -1)))} and 40 older ones"


def system(root: Path, name: str, *, version: str = "", kernel: str = "", revision: str = "") -> Path:
    """What a system has that tells of it."""
    path = root / "nix" / "store" / name
    (path / "sw" / "bin").mkdir(parents=True)
    if version:
        (path / "nixos-version").write_text(version)
    if kernel:
        (path / "kernel-modules" / "lib" / "modules" / kernel).mkdir(parents=True)
    if revision:
        json = f'{{"configurationRevision":"{revision}","nixosVersion":"{version}"}}'
        (path / "sw" / "bin" / "nixos-version").write_text(f"#!/bin/sh\ntouch {root}/was-run\ncat <<EOF\n{json}\nEOF\n")
        (path / "sw" / "bin" / "nixos-version").chmod(0o755)
    return path


def profile(root: Path, at: int, **systems: Path) -> None:
    """`_1=…` is the first generation's system."""
    folder = root / "nix" / "var" / "nix" / "profiles"
    folder.mkdir(parents=True)
    for number, path in systems.items():
        link = folder / f"system-{number[1:]}-link"
        link.symlink_to(path)
        os.utime(link, (0, 1_700_000_000 + int(number[1:])), follow_symlinks=False)
    (folder / "system").symlink_to(f"system-{at}-link")


@pytest.mark.processes
def test_a_host_tells_what_its_generations_are(tmp_path: Path) -> None:
    old = system(tmp_path, "old", version="25.11pre", kernel="6.12.1")
    new = system(tmp_path, "new", version="26.05", kernel="6.18.3", revision="0" * 40)
    profile(tmp_path, 10, _2=old, _9=tmp_path / "nix" / "store" / "collected", _10=new)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "current-system").symlink_to(new)
    (tmp_path / "run" / "booted-system").symlink_to(old)
    records = tmp_path / "var" / "lib" / "pipelinegen" / "activations"
    records.mkdir(parents=True)
    (records / "pipelinegen-12345678").write_text(f"id=x\nsystem={old}\nrevision={'1' * 40}\nend=\nsystem=/older\n")

    (records / "pipelinegen-23456789").write_text(f"id=y\nsystem={old}\nrevision=\nend=\n")

    found = read_generations(LocalHost(root=tmp_path))
    assert [one.number for one in found] == [10, 9, 2], "newest first, by number"
    newest, gone, oldest = found
    assert newest == Generation(
        number=10,
        path=str(new),
        date="2023-11-14T22:13:30Z",
        nixos_version="26.05",
        kernel="6.18.3",
        revision="0" * 40,
        current=True,
        running=True,
    )
    assert (gone.present, gone.nixos_version, gone.kernel) == (False, None, None)
    assert gone.path.endswith("/collected")
    assert (oldest.booted, oldest.running, oldest.current, oldest.revision) == (True, False, False, "1" * 40)
    assert not (tmp_path / "was-run").exists(), "nothing of a system is run"


@pytest.mark.processes
def test_a_host_without_generations_says_so(tmp_path: Path) -> None:
    assert read_generations(LocalHost(root=tmp_path)) == ()


def test_what_a_host_says_of_generations_is_harmless() -> None:
    found = parse(
        "running=/nix/store/x\ncurrent=system-1-link\n"
        "number=1\npath 1=/nix/store/x\x1b[2J\x1b]0;title\x07\ntime 1=1e99\nversion 1=\x1b[31mred\n"
        "kernel 1=6\nrevision 1=$(reboot)\npresent 1=yes\n"
        "number=-2\npath -2=/x\nnumber=99999999999999999999\nnumber=3\nnonsense\n"
        "number=4\npath 4=/nix/store/y\ntime 4=99999999999\n"
    )
    assert [one.number for one in found] == [4, 1], "no path, no number: not a generation"
    one = found[-1]
    assert (one.path, one.date, one.nixos_version, one.revision) == ("/nix/store/x", None, "red", None)
    assert one.running
    assert one.current
    assert "\x1b" not in "\n".join(table(found))


def test_the_table_marks_what_runs_what_booted_and_what_boots_next() -> None:
    there = (
        Generation(number=10, path=B, date="2026-01-02T03:04:05Z", running=True, current=True, kernel="6.18"),
        Generation(number=9, path=A, booted=True, present=False),
    )
    titles, first, second, _, legend = table(there)
    assert first.split() == ["*", ">", "10", "2026-01-02", "03:04:05", "?", "6.18", "?", B]
    assert second.split() == ["b", "9", "?", "?", "?", "?", A, "(gone)"]
    assert titles.index("system") == first.index(B) == second.index(A)
    assert "runs now" in legend


def test_the_record_for_programs_has_a_version_and_comes_back_as_it_was() -> None:
    record = Generations(host="web1", address="192.0.2.1", generations=generations(A, B, at=2))
    assert record.format_version == "1.0"
    assert Generations.model_validate_json(record.model_dump_json()) == record
