"""What changes between two closures."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen.deploy.closure_diff import NO_VERSION, difference, is_store_path, lines, package
from pipelinegen.deploy.report import PackageChange
from pipelinegen.path_info import to_base32


def path(name: str) -> str:
    return f"/nix/store/{to_base32(hashlib.sha256(name.encode()).digest()[:20])}-{name}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("hello-2.12.1", ("hello", "2.12.1"), id="a version"),
        pytest.param("bash-interactive-5.2p37-man", ("bash-interactive", "5.2p37"), id="an output"),
        pytest.param("gcc-13.2.0-lib", ("gcc", "13.2.0"), id="a library output"),
        pytest.param("unit-sshd.service", ("unit-sshd.service", NO_VERSION), id="no version"),
        pytest.param(
            "nixos-system-web1-25.11.20260101.abc1234", ("nixos-system-web1", "25.11.20260101.abc1234"), id="x"
        ),
        pytest.param("7zip-24.09", ("7zip", "24.09"), id="a name that begins with a digit"),
        pytest.param("python3.12-foo-1.0-rc1", ("python3.12-foo", "1.0-rc1"), id="a pre-release is no output"),
    ],
)
def test_a_store_path_is_taken_apart_as_nix_does(name: str, expected: tuple[str, str]) -> None:
    assert package(path(name)) == expected


def test_versions_and_sizes_are_compared_by_name() -> None:
    before = {path("a-1.9"): 100, path("b-1"): 100_000, path("c-1"): 5, path("same-1"): 7, path("unit-x"): 1}
    after = {path("a-1.10"): 300, path("b-1") + "x": 300_000, path("d-2"): 9, path("same-1"): 7, path("unit-x"): 2}
    assert difference(before, after) == (
        PackageChange(name="a", before=("1.9",), after=("1.10",), bytes=200),
        PackageChange(name="b", before=("1",), after=("1x",), bytes=200_000),
        PackageChange(name="c", before=("1",), after=(), bytes=-5),
        PackageChange(name="d", before=(), after=("2",), bytes=9),
    )


def test_a_package_that_only_grew_is_named_when_it_grew_much() -> None:
    one, other = path("big-1"), f"/nix/store/{'0' * 32}-big-1"
    assert difference({one: 10_000}, {other: 10_001}) == ()
    assert difference({one: 10_000}, {other: 30_000}) == (
        PackageChange(name="big", before=("1",), after=("1",), bytes=20_000),
    )


def test_versions_stand_in_their_natural_order() -> None:
    closure = {path(f"a-{version}"): 1 for version in ("1.10", "1.9", "1.9-rc1")}
    assert difference({}, closure)[0].after == ("1.9", "1.9-rc1", "1.10")


def test_of_many_changes_those_that_weigh_most_are_told() -> None:
    changes = [PackageChange(name=f"p{number:02}", after=("1",), bytes=number) for number in range(50)]
    told = list(lines(changes, most=2))
    assert told == [
        "p48: (absent) → 1, +0.0 KiB",
        "p49: (absent) → 1, +0.0 KiB",
        "and 48 more packages that changed less",
    ]


@given(st.dictionaries(st.from_regex(r"[a-z]{1,4}-[0-9.a-z-]{1,5}", fullmatch=True), st.integers(0, 10**6)))
def test_nothing_changes_between_a_closure_and_itself(names: dict[str, int]) -> None:
    closure = {path(name): size for name, size in names.items()}
    assert difference(closure, closure) == ()
    assert sum(change.bytes for change in difference({}, closure)) == sum(closure.values())


@pytest.mark.parametrize("text", ["--option", "/etc/passwd", "/nix/store/short-a", path("a") + "\n", path("a") + " b"])
def test_what_is_no_store_path_is_not_taken_for_one(text: str) -> None:
    assert is_store_path(path("a-1"))
    assert not is_store_path(text)
