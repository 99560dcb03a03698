"""The caches that the server's options want are made on a server: by the unit's own script, with a token of minutes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.attic_server.process import NO_TLS
from tests.attic_server.real import environment, find_atticd, real_attic, real_problem
from tests.attic_server.server import SECRET, attic_server
from tests.integration.conftest import ONE_NIX
from tests.integration.nix.modules import NIX, ROOT, evaluate

pytestmark = [pytest.mark.nix, pytest.mark.processes, ONE_NIX]

SCRIPT = NIX / "attic-server" / "provision.sh"
CACHES = {
    "prod": {"public": True, "priority": None, "retention": "90 days", "upstreamKeys": ["cache.nixos.org-1"]},
    "ci-main": {"public": False, "priority": 30, "retention": "forever", "upstreamKeys": []},
    "ci-mr": {"public": False, "priority": None, "retention": None, "upstreamKeys": ["cache.nixos.org-1"]},
}
WANTED = {
    "prod": (True, 50, {"Period": 90 * 86400}, ["cache.nixos.org-1"]),
    "ci-main": (False, 30, {"Period": 0}, []),
    "ci-mr": (False, 60, "Global", ["cache.nixos.org-1"]),
}


def toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    lines = []
    for name, table in tables.items():
        lines.append(f"[caches.{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


class Unit:
    """A run of the script as systemd would start it."""

    def __init__(self, nix_bin: Path, folder: Path, url: str, atticadm: Path, variables: Mapping[str, str]) -> None:
        self.folder, self.runtime = folder, folder / "runtime"
        self.runtime.mkdir()
        programs = folder / "programs"
        programs.mkdir()
        (programs / "atticadm").write_text(f'#!/bin/sh\necho "$@" >>{folder}/minted\nexec {atticadm} "$@"\n')
        # It notes what it is given, and is the real program.
        (programs / "pipelinegen").write_text(
            f"#!/bin/sh\nenv >{folder}/environment\nls -l {self.runtime}/token >{folder}/token-file\n"
            f'PYTHONPATH={ROOT} exec {sys.executable} -m pipelinegen "$@"\n'
        )
        for program in programs.iterdir():
            program.chmod(0o755)
        arguments = json.dumps(json.dumps({"domain": "cache.example.org", "caches": CACHES}))
        wanted = evaluate(nix_bin, f"import {NIX}/attic-server/wanted-caches.nix (builtins.fromJSON {arguments})")
        config = folder / "pipelinegen.toml"
        config.write_text(toml(wanted).replace("https://cache.example.org/", url))
        self.environment = {
            **variables,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PIPELINEGEN_CONFIG": str(config),
            "CACHES": " ".join(sorted(CACHES)),
            "RUNTIME_DIRECTORY": str(self.runtime),
            "PATIENCE": "60",
            "PAUSE": "1",
        }

    def start(self, **more: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(SCRIPT)]
        known = self.environment | more
        return subprocess.run(
            command, env=known, cwd=self.runtime, capture_output=True, text=True, check=False, timeout=120
        )


def asked(url: str, token: str, cache: str) -> tuple[Any, ...]:
    """What the server says of a cache: whether it is public, its priority, retention and upstream keys."""
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, verify=NO_TLS) as client:
        found = client.get(f"{url}_api/v1/cache-config/{cache}").raise_for_status().json()
    return (found["is_public"], found["priority"], found["retention_period"], found["upstream_cache_key_names"])


@pytest.fixture(params=["double", "real"])
def served(request: pytest.FixtureRequest, nix_bin: Path, tmp_path: Path) -> Iterator[tuple[Unit, str, str]]:
    """A unit, and the server that it is for: its address, and a token that reads everything."""
    if request.param == "real":
        program = find_atticd()
        if program is None:
            pytest.skip(str(real_problem()))
        with real_attic(tmp_path / "server") as server:
            variables = environment(server.folder) | {"ATTIC_CONFIG": str(server.folder / "server.toml")}
            unit = Unit(nix_bin, tmp_path, server.url, program.with_name("atticadm"), variables)
            yield unit, server.url, server.token({"*": "r"})
        return
    with attic_server(tmp_path / "server") as double:
        yield (
            Unit(nix_bin, tmp_path, double.url, minting(tmp_path), {"ATTIC_CONFIG": "/none"}),
            double.url,
            double.token({"*": "r"}),
        )


def minting(folder: Path) -> Path:
    """A program that makes tokens for the double as atticadm would."""
    program = folder / "mint"
    rights = json.dumps(dict.fromkeys(CACHES, "r cc cr cq"))
    program.write_text(
        f"#!{sys.executable}\nimport sys, time\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.attic_server.tokens import make_token\n"
        f"print(make_token({SECRET!r}, {rights}, expires=time.time() + 600))\n"
    )
    program.chmod(0o755)
    return program


def test_the_caches_are_made_as_wanted_and_a_second_run_changes_nothing(served: tuple[Unit, str, str]) -> None:
    unit, url, token = served

    first, second = unit.start(), unit.start()

    assert first.returncode == 0, first.stderr
    assert {name: asked(url, token, name) for name in CACHES} == WANTED
    assert second.returncode == 0, second.stderr
    assert "nothing to change" in second.stderr


def test_the_token_has_the_needed_rights_by_exact_names_for_ten_minutes_and_is_gone(
    served: tuple[Unit, str, str],
) -> None:
    unit, _, _ = served

    unit.start()

    rights = [
        f"--{right} {cache}"
        for cache in sorted(CACHES)
        for right in ("pull", "create-cache", "configure-cache", "configure-cache-retention")
    ]
    config = unit.environment["ATTIC_CONFIG"]
    assert (unit.folder / "minted").read_text().strip() == (
        f"-f {config} make-token --sub attic-provision --validity 10 minutes {' '.join(rights)}"
    )
    assert (unit.folder / "token-file").read_text().startswith("-rw------- ")
    assert list(unit.runtime.glob("token*")) == []


def test_pipelinegen_sees_none_of_the_servers_secrets(served: tuple[Unit, str, str]) -> None:
    unit, _, _ = served

    unit.start(AWS_SECRET_ACCESS_KEY="hunter2", SSL_CERT_FILE="/etc/ssl/certs/ca-certificates.crt")

    given = (unit.folder / "environment").read_text()
    assert "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt" in given.splitlines()
    assert "hunter2" not in given
    assert "ATTIC" not in given


def test_it_tries_again_until_its_patience_ends(nix_bin: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/"
    unit = Unit(nix_bin, tmp_path, url, minting(tmp_path), {"ATTIC_CONFIG": "/none"})

    done = unit.start(PATIENCE="8")

    assert done.returncode == 75, done.stderr
    assert "attic-provision: trying again in 1 s" in done.stderr
    assert "attic-provision: gave up after" in done.stderr
    assert len((tmp_path / "minted").read_text().splitlines()) > 1, "each try has a token of its own"


def test_it_goes_on_as_soon_as_the_server_answers(nix_bin: Path, tmp_path: Path) -> None:
    with attic_server(tmp_path / "server") as double:
        unit = Unit(nix_bin, tmp_path, double.url, tmp_path / "late", {"ATTIC_CONFIG": "/none"})
        # No token can be made at first, as while the configuration of the server is wrong.
        (tmp_path / "late").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "late").chmod(0o755)
        mint = minting(tmp_path)
        later = threading.Timer(2, lambda: mint.replace(tmp_path / "late"))
        later.start()

        done = unit.start()

        later.join()
        assert done.returncode == 0, done.stderr
        assert "trying again" in done.stderr
        assert asked(double.url, double.token({"*": "r"}), "prod") == WANTED["prod"]


def test_a_token_that_the_server_refuses_is_not_tried_for_half_an_hour(nix_bin: Path, tmp_path: Path) -> None:
    with attic_server(tmp_path / "server", secret=b"another secret than that of the environment") as double:
        unit = Unit(nix_bin, tmp_path, double.url, minting(tmp_path), {"ATTIC_CONFIG": "/none"})
        begun = time.monotonic()

        done = unit.start()

        assert done.returncode == 4, done.stderr
        assert "trying again" not in done.stderr
        assert time.monotonic() - begun < 30
