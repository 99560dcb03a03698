"""The runbooks, command by command, with the real atticd where it is built: it serves the same paths afterwards."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import httpx
import pytest

from tests.attic_server import AtticServer
from tests.attic_server.process import NO_TLS
from tests.attic_server.real import RealAttic, Settings, environment, find_atticd, real_problem
from tests.integration.attic.pushing import Paths, Scene, build
from tests.integration.conftest import ONE_NIX
from tests.integration.nix.backup.server import ROOT, SCRIPTS, Server
from tests.integration.nix.postgresql import Cluster

pytestmark = [pytest.mark.nix, pytest.mark.processes, pytest.mark.xdist_group("postgresql"), ONE_NIX]

PAGE = ROOT / "docs" / "how-to" / "recover-the-cache-server.md"
HEALTH = ROOT / "nix" / "attic-server" / "health.sh"
HOST = "cache.example.org"
BLOCK = re.compile(r"<!-- tried: (\w+)(?:, exit (\d+))? -->\s*```console\n(.*?)```", re.DOTALL)


def commands(case: str) -> list[tuple[str, int]]:
    """The commands of a case in the page, with the exit codes that they must have."""
    found = []
    for name, code, text in BLOCK.findall(PAGE.read_text("utf-8")):
        if name == case:
            found += [(line.strip()[2:], int(code or 0)) for line in text.splitlines() if line.strip()]
    assert found, f"the page has nothing to try for {case}"
    return found


class Machine(Server):
    """A cache server with the real atticd, which `systemctl` starts and stops."""

    def prepare(self) -> None:
        """Write the server's configuration and our `systemctl`, and start it with an empty database."""
        atticd = find_atticd()
        assert atticd is not None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        (self.folder / "root").mkdir()
        text = Settings(allowed_hosts=[HOST, f"127.0.0.1:{self.port}"]).toml(self.folder, self.port, "none", 3600)
        url = f"postgresql:///atticd?host={self.cluster.folder}&user=atticd"
        text = re.sub(r'url = "sqlite.*"', f'url = "{url}"', text).replace("65536", "2048", 1)
        (self.folder / "server.toml").write_text(text)
        # It outlives the script that starts it; not for long, also when the tests are killed.
        program = f"setsid timeout -k 5 300 {atticd} -f {self.folder}/server.toml"
        start = f"{program} >>$STATE/log 2>&1 </dev/null & echo $! >$STATE/pid"
        end = "kill $(cat $STATE/pid); while kill -0 $(cat $STATE/pid); do sleep 0.1; done; rm $STATE/pid"
        stop = f"[ ! -e $STATE/pid ] || {{ {end}; }} 2>/dev/null"
        dump = f"set -o pipefail; pg_dump -C atticd | zstd -q >{self.source}.new && mv {self.source}.new {self.source}"
        self.tool(
            "systemctl",
            "case \"$*\" in 'start postgresqlBackup-atticd')\n"
            f"{dump} && exec attic-backup ;; 'start atticd.service') {start} ;; 'stop atticd.service') {stop} ;;\n"
            f"'restart atticd') {stop}; {start} ;; 'is-active atticd.service') kill -0 $(cat $STATE/pid) ;;\n"
            "*) exit 1 ;; esac",
        )
        for name in ("backup", "restore", "verify-storage", "drill"):
            self.tool(f"attic-{name}", f'exec bash {SCRIPTS}/{name}.sh "$@"')
        self.tool("attic-health", f'exec bash {HEALTH} "$@"')
        self.settings |= {
            **{name: value for name, value in environment(self.folder).items() if name.startswith("ATTIC")},
            "ATTIC_HEALTH_COMMAND": str(self.folder / "tools" / "attic-health"),
            "ATTIC_HEALTH_LISTEN": f"127.0.0.1:{self.port}",
            "ATTIC_HEALTH_HOST": HOST,
            "ATTIC_HEALTH_CACHE": "prod",
            "ATTIC_HEALTH_TRIES": "1",
            "ATTIC_START_SECONDS": "20",
        }
        self.cluster.sql("postgres", "CREATE DATABASE atticd OWNER atticd")
        self.shell("systemctl start atticd.service")
        self.wait()

    def wait(self) -> None:
        """Until it answers."""
        for _ in range(100):
            if self.run_shell("attic-health --local").returncode == 0:
                return
            time.sleep(0.1)
        raise AssertionError((self.running / "log").read_text())

    def stop(self) -> None:
        """No process of ours stays."""
        file = self.running / "pid"
        if file.exists():
            os.kill(int(file.read_text()), signal.SIGTERM)
            file.unlink()

    def run_shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """A line of the page, with this machine's folders and ports."""
        line = command.replace("/root/", f"{self.folder}/root/").replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")
        if not self.cluster.user:
            line = line.replace("setpriv --reuid=postgres --regid=postgres --init-groups ", "")
        argv = ["bash", "-c", f"set -o pipefail; {line}"]
        return subprocess.run(argv, env=self.environment({}), capture_output=True, text=True, check=False, timeout=90)

    def shell(self, command: str, code: int = 0) -> str:
        """As `run_shell`; it must end so. Gives what it printed."""
        done = self.run_shell(command)
        assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def follow(self, case: str) -> list[str]:
        """Run all that the page says for the case; what each command printed."""
        return [self.shell(command, code) for command, code in commands(case)]

    def real(self) -> RealAttic:
        """For the clients of the tests; they reach it under the name that it answers to."""
        program = find_atticd()
        assert program is not None
        settings = Settings(allowed_hosts=[HOST])
        return RealAttic(program, self.folder, f"http://127.0.0.1:{self.port}/", settings, "none")

    def root(self, name: str) -> Path:
        """A file of the administrator."""
        return self.folder / "root" / name


@pytest.fixture
def machine(postgres: Cluster, tmp_path: Path, nix_bin: Path) -> Iterator[Machine]:
    """A running server with the public cache `prod`, the private `ci-main`, and copies off-site."""
    del nix_bin  # first on PATH now
    if problem := real_problem():
        pytest.skip(problem)
    postgres.clear()
    made = Machine(postgres, tmp_path)
    identity = made.folder / "identity"
    subprocess.run(["age-keygen", "-o", str(identity)], capture_output=True, check=True)
    made.offsite(
        subprocess.run(["age-keygen", "-y", str(identity)], capture_output=True, text=True, check=True).stdout.strip()
    )
    made.prepare()
    try:
        # Our pusher asks under the address that it is given, which has no name here: that one is answered, too.
        made.real().create_cache("prod", public=True, store_dir=os.environ["NIX_STORE_DIR"])
        made.real().create_cache("ci-main")
        shutil.copy(identity, made.root("age-identity"))
        yield made
    finally:
        made.stop()


@pytest.fixture
def paths(machine: Machine, tmp_path: Path) -> Paths:
    """Pushed to `prod`."""
    made = build(tmp_path)
    push(machine, made.big, made.many)
    return made


def key(machine: Machine) -> str:
    answer = ask(machine, "_api/v1/cache-config/prod")
    return str(answer.json()["public_key"])


def ask(machine: Machine, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{machine.port}/{path}", headers={"Host": HOST}, timeout=30, verify=NO_TLS)


def push(machine: Machine, *wanted: str, heals: bool = True) -> None:
    """As a push job does it, which fetches again what it has pushed."""
    with pytest.MonkeyPatch.context() as patch:
        scene = Scene(cast("AtticServer", machine.real()), Paths("", "", "", "", ""), key(machine), patch)
        cache = scene.cache({"prod": "r w"}, url=f"http://127.0.0.1:{machine.port}/prod")
        report = cache.push(wanted)
    assert report.ok == heals, report


def fetched(machine: Machine, path: str) -> bool:
    """Does the server give the whole NAR of this path?"""
    answer = ask(machine, f"prod/nar/{Path(path).name[:32]}.nar")
    wanted = subprocess.run(["nix-store", "--dump", path], capture_output=True, check=True).stdout
    return answer.status_code == 200 and hashlib.sha256(answer.content).digest() == hashlib.sha256(wanted).digest()


def lose_the_disk(machine: Machine) -> None:
    """A new machine: PostgreSQL with an empty database, in which the server has made its tables."""
    machine.stop()
    machine.cluster.clear()
    shutil.rmtree(machine.kept)
    machine.source.unlink()
    machine.cluster.sql("postgres", "CREATE DATABASE atticd OWNER atticd")
    machine.shell("systemctl start atticd.service")
    machine.wait()


def test_a_backup_is_made_and_listed_here_and_off_site(machine: Machine, paths: Paths) -> None:
    *_, listed = machine.follow("backup")
    assert [line.split()[1] for line in listed.splitlines()] == ["here", "off-site"]
    assert "can be restored" in machine.shell("attic-drill")


def test_a_lost_server_serves_the_same_paths_with_the_same_key(machine: Machine, paths: Paths) -> None:
    before = key(machine)
    machine.follow("backup")
    lose_the_disk(machine)
    assert ask(machine, "prod/nix-cache-info").status_code == 401
    said = machine.follow("server")
    assert "restored:" in said[1]
    assert "every chunk is there" in said[3]
    assert "StoreDir: " in said[-1]
    assert key(machine) == before
    assert fetched(machine, paths.big)
    assert fetched(machine, paths.many)
    assert not machine.root("age-identity").exists()


def test_a_bucket_that_lost_objects_is_healed_by_pushing_again(machine: Machine, paths: Paths) -> None:
    max(machine.storage.rglob("*.chunk"), key=lambda file: file.stat().st_size).unlink()
    assert not whole(machine, paths.big)
    push(machine, paths.big, heals=False)
    assert not whole(machine, paths.big)
    assert "every chunk is there" in machine.follow("bucket")[-1]
    assert machine.root("broken-paths").read_text() == f"prod {paths.big}\n"
    machine.wait()
    assert ask(machine, f"prod/{Path(paths.big).name[:32]}.narinfo").status_code == 404
    push(machine, paths.big)
    assert fetched(machine, paths.big)
    assert "every chunk is there" in machine.shell("attic-verify-storage")


def whole(machine: Machine, path: str) -> bool:
    """As `fetched`, where the answer may break off."""
    try:
        return fetched(machine, path)
    except httpx.TransportError:
        return False


def test_with_server_and_bucket_lost_the_key_survives_and_pushing_fills_the_caches(
    machine: Machine, paths: Paths
) -> None:
    before = key(machine)
    machine.follow("backup")
    lose_the_disk(machine)
    shutil.rmtree(machine.storage)
    machine.storage.mkdir()
    assert "repaired:" in machine.follow("everything")[1]
    machine.wait()
    assert key(machine) == before
    push(machine, paths.big, paths.many)
    assert fetched(machine, paths.big)
    assert fetched(machine, paths.many)


def test_what_a_leaked_token_pushed_is_found_and_it_is_refused_under_the_new_secret(
    machine: Machine, paths: Paths
) -> None:
    machine.cluster.sql("atticd", "UPDATE object SET created_by = 'pipelinegen-publish'")
    machine.root("leaked-token").write_text(machine.real().token({"ci-main": "r w"}))
    *before, (header, _), (last, code) = commands("token")
    said = [machine.shell(command, code) for command, code in before]
    assert '"exp"' in said[0]
    assert paths.big in said[1]
    assert ask(machine, f"prod/{Path(paths.big).name[:32]}.narinfo").status_code == 404
    machine.shell(header)
    assert machine.shell(last, code) == "200\n"
    secret = base64.b64encode(machine.root("new-token-secret").read_bytes()).decode("ascii")
    machine.settings = {name: value for name, value in machine.settings.items() if "TOKEN" not in name}
    machine.settings["ATTIC_SERVER_TOKEN_RS256_SECRET_BASE64"] = secret
    machine.shell("systemctl restart atticd")
    machine.wait()
    assert machine.shell(last, code) == "401\n"


def test_a_cache_signs_with_the_key_that_it_is_given(machine: Machine, paths: Paths) -> None:
    machine.root("admin-token").write_text(machine.real().token({"prod": "r cr"}))
    said = machine.follow("key")
    assert said[-2].strip() == machine.root("prod-2.public").read_text().strip()
    narinfo = ask(machine, f"prod/{Path(paths.big).name[:32]}.narinfo").text
    assert re.findall(r"^Sig: (.*):", narinfo, re.MULTILINE) == ["prod-2"]
    assert not machine.root("prod-2.secret").exists()


def test_what_fills_a_cache_is_shown(machine: Machine, paths: Paths) -> None:
    said = machine.follow("full")
    assert "prod" in said[1]
    assert "0 orphans" in said[3]
    machine.wait()


# --- health


def test_the_server_is_well_only_under_its_own_name(machine: Machine) -> None:
    machine.shell("attic-health")
    figures = machine.figures("attic-health")
    assert figures['attic_health_up{target="local"}'] == 1
    assert 0 < figures['attic_health_response_seconds{target="local"}'] < 10
    machine.settings["ATTIC_HEALTH_HOST"] = "localhost"
    assert "status 400" in machine.shell("attic-health", 1)
    assert machine.figures("attic-health")['attic_health_up{target="local"}'] == 0


@pytest.mark.parametrize("cache", ["prod", "ci-main"], ids=["public", "private"])
def test_a_server_without_its_database_is_not_well(machine: Machine, cache: str) -> None:
    machine.settings["ATTIC_HEALTH_CACHE"] = cache
    machine.shell("attic-health")
    machine.cluster.sql("postgres", "DROP DATABASE atticd WITH (FORCE)")
    assert "status 500" in machine.shell("attic-health", 1)


def test_a_public_address_that_does_not_answer_fails_the_check_and_is_told_apart(machine: Machine) -> None:
    machine.settings["ATTIC_HEALTH_PUBLIC"] = "http://127.0.0.1:9"
    machine.settings["ATTIC_HEALTH_TRIES"] = "2"
    machine.settings["ATTIC_HEALTH_PAUSE"] = "0"
    assert "try 2 of 2" in machine.shell("attic-health", 1)
    figures = machine.figures("attic-health")
    assert figures['attic_health_up{target="local"}'] == 1
    assert figures['attic_health_up{target="public"}'] == 0
