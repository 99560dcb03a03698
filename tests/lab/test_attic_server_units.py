"""The cache server's own units under a real systemd: secrets that come late, change, or become bad."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.nix.modules import NIX, stand_in
from tests.lab.conftest import MakeHost
from tests.lab.host import Host

pytestmark = [pytest.mark.lab, pytest.mark.time_limit(180)]

SETTINGS = """{ services.pipelinegen.attic-server = {
  enable = true; package = pkgs.pipelinegen; domain = "cache.example.org";
  storage.s3 = { bucket = "example"; region = "eu-west-1"; };
  secrets = {
    tokenSecretFile = "/run/secrets/token"; s3AccessKeyIdFile = "/run/secrets/key-id";
    s3SecretAccessKeyFile = "/run/secrets/key";
  };
}; }"""
WANTED = """let
  unit = one: { inherit (one) description before after wants requiredBy wantedBy unitConfig; };
  service = name: let one = config.systemd.services.${name}; in
    unit one // { inherit (one) environment serviceConfig; };
in {
  environment = service "attic-environment";
  refresh = service "attic-environment-refresh"
    // { startLimitIntervalSec = config.systemd.services.attic-environment-refresh.startLimitIntervalSec; };
  path = unit config.systemd.paths.attic-environment-refresh
    // { inherit (config.systemd.paths.attic-environment-refresh) pathConfig; };
  inherit (config.systemd.services.atticd) serviceConfig;
  limit = config.systemd.services.atticd.startLimitIntervalSec;
  file = config.services.atticd.environmentFile;
}"""
# As nixpkgs' module has it, with a program that does nothing.
ATTICD = {"DynamicUser": True, "User": "atticd", "Restart": "on-failure", "RestartSec": 10, "PrivateUsers": True}


def lines(name: str, values: dict[str, Any]) -> list[str]:
    """A section of a unit file."""
    found = [f"[{name}]"]
    for key, value in values.items():
        several = value if isinstance(value, list) else [value]
        found += [f"{key}={str(one).lower() if isinstance(one, bool) else one}" for one in several]
    return found


def unit_text(unit: dict[str, Any], kind: str, section: dict[str, Any]) -> str:
    head = {"Description": unit["description"], **unit["unitConfig"]}
    head |= {"Before": unit["before"], "After": unit["after"], "Wants": unit["wants"]}
    if "startLimitIntervalSec" in unit:
        head["StartLimitIntervalSec"] = unit["startLimitIntervalSec"]
    environment = [f'"{name}={value}"' for name, value in unit.get("environment", {}).items()]
    install = {"RequiredBy": unit["requiredBy"], "WantedBy": unit["wantedBy"]}
    more = {"Environment": environment} if environment else {}
    return "\n".join([*lines("Unit", head), *lines(kind, section | more), *lines("Install", install), ""])


def put(host: Host, file: str, content: bytes, mode: str = "0644") -> None:
    """Write a file on the machine as providers of secrets do: whole, by its name."""
    host.ssh(f"install -D -m {mode} /dev/stdin {file}.new && mv {file}.new {file}", stdin=content)


@pytest.fixture
def server(make_host: MakeHost) -> Host:
    """A machine with the module's units, and no secrets yet; atticd is a program that does nothing."""
    nix, openssl = shutil.which("nix-instantiate"), shutil.which("openssl")
    if nix is None or openssl is None:
        pytest.skip("there is no Nix or no openssl here")
    found = stand_in(Path(nix).parent).evaluate("attic-server", SETTINGS, WANTED).value
    host = make_host("cache")
    put(host, "/usr/bin/openssl", Path(openssl).read_bytes(), "0755")
    for script, program in {"compose": "attic-environment", "refresh": "attic-environment-refresh"}.items():
        text = (NIX / "attic-server" / f"{script}-environment.sh").read_text()
        put(host, f"/usr/bin/{program}", f"#!/bin/bash\n{text}".encode(), "0755")
    units = {
        "attic-environment.service": unit_text(
            found["environment"],
            "Service",
            found["environment"]["serviceConfig"] | {"ExecStart": "/usr/bin/attic-environment"},
        ),
        "attic-environment-refresh.service": unit_text(
            found["refresh"],
            "Service",
            found["refresh"]["serviceConfig"] | {"ExecStart": "/usr/bin/attic-environment-refresh"},
        ),
        "attic-environment-refresh.path": unit_text(found["path"], "Path", found["path"]["pathConfig"]),
        "atticd.service": "\n".join(
            [
                *lines("Unit", {"StartLimitIntervalSec": found["limit"]}),
                *lines(
                    "Service",
                    ATTICD
                    | found["serviceConfig"]
                    | {"EnvironmentFile": found["file"], "ExecStart": "/usr/bin/sleep infinity"},
                ),
            ]
        ),
    }
    for name, text in units.items():
        put(host, f"/etc/systemd/system/{name}", text.encode())
    host.ssh("systemctl daemon-reload && systemctl enable attic-environment.service attic-environment-refresh.path")
    host.ssh("systemctl start attic-environment-refresh.path")
    return host


def give(host: Host) -> None:
    """Put the secrets there, as a provider that came late."""
    pem = subprocess.run(["openssl", "genrsa", "-traditional", "2048"], capture_output=True, check=True).stdout
    for name, content in {"token": pem, "key-id": b"the-id\n", "key": b"the-key\n"}.items():
        put(host, f"/run/secrets/{name}", content, "0400")


def eventually(host: Host, holds: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, host.inside("journalctl -b -u 'attic*'", check=False).stdout
        time.sleep(0.2)


def pid(host: Host) -> str:
    """The server's process, `0` while there is none."""
    return host.read("systemctl show -P MainPID atticd")


def given(host: Host) -> str:
    """What the server's process has in its environment."""
    return host.inside(f"tr '\\0' '\\n' </proc/{pid(host)}/environ", check=False).stdout


def test_the_server_starts_once_late_secrets_are_there_and_follows_their_changes(server: Host) -> None:
    # OpNix without its token counts as success: the server is started without secrets.
    started = server.inside("systemctl start atticd", check=False)

    assert started.returncode != 0
    log = server.read("journalctl -b -u attic-environment")
    assert "/run/secrets/token, which should hold the token secret, does not exist" in log
    assert pid(server) == "0"

    give(server)
    eventually(server, lambda: "AWS_SECRET_ACCESS_KEY=the-key" in given(server))
    assert server.read("stat -c '%U %a' /run/attic-server /run/attic-server/environment").split() == (
        ["root", "700", "root", "400"]
    )
    assert server.read(f"stat -c %U /proc/{pid(server)}") != "root"

    first = pid(server)
    put(server, "/run/secrets/key", b"another-key\n", "0400")
    eventually(server, lambda: "AWS_SECRET_ACCESS_KEY=another-key" in given(server))
    second = pid(server)
    assert second != first

    put(server, "/run/secrets/key", b"", "0400")
    refresh = "attic-environment-refresh.service"
    eventually(server, lambda: server.inside(f"systemctl is-failed {refresh}", check=False).stdout == "failed\n")
    assert "the secret access key of the bucket, is empty" in server.read(f"journalctl -b -u {refresh}")
    assert pid(server) == second

    put(server, "/run/secrets/key", b"another-key\n", "0400")
    eventually(server, lambda: server.inside(f"systemctl is-failed {refresh}", check=False).stdout != "failed\n")
    assert pid(server) == second, "the same secrets as before are no reason to restart"

    server.inside("systemctl restart attic-environment")
    eventually(server, lambda: pid(server) not in {"0", second})

    # One after the other, as OpNix writes them: of what changes while a unit runs, systemd does not tell it.
    for number, pause in enumerate((0.1, 0.2, 0.3, 0.4)):
        write = f"cd /run/secrets && printf 'id-{number}' >key-id && sleep {pause} && printf 'key-{number}' >key"
        server.ssh(write)
        both = {f"AWS_ACCESS_KEY_ID=id-{number}", f"AWS_SECRET_ACCESS_KEY=key-{number}"}
        eventually(server, lambda both=both: both <= set(given(server).splitlines()))  # type: ignore[misc]

    # Missing again, and now somebody restarts the unit by hand as soon as they are there.
    server.ssh("mv /run/secrets /run/away && systemctl restart attic-environment || test $? = 1")
    assert pid(server) == "0"
    server.ssh("mv /run/away /run/secrets && systemctl restart attic-environment")
    eventually(server, lambda: pid(server) != "0")

    log = server.read("journalctl -b -u 'attic*'")
    assert "the-key" not in log
    assert "another-key" not in log
