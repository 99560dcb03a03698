"""Several evaluators at once find the same as one, lose nothing, and are all gone at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelinegen.config import Config, Evaluation
from pipelinegen.errors import FlakeError
from pipelinegen.inventory import dealing, pool
from pipelinegen.inventory.model import FlakeSource, Inventory
from pipelinegen.inventory.read import read_inventory, read_source
from tests.integration.inventory.conftest import write_flake
from tests.integration.inventory.test_failures import BUILT, FAILING, KILLER
from tests.integration.inventory.test_kinds import OF_EVERY_KIND

pytestmark = pytest.mark.nix

SLOW = """
  slow = n: builtins.foldl' (sum: x: sum + builtins.stringLength (builtins.hashString "sha256" (toString (x + n))))
    0 (builtins.genList (x: x) 150000);
  host = name: { config.system.build.toplevel = drv name { x = slow (builtins.stringLength name); }; };
"""
"""Nix: `host "name"` takes some tenths of a second."""


@pytest.fixture
def started(nix_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    """`started()`: the process numbers of all evaluators so far, each with one line in a file."""
    folder = tmp_path / "counted"
    folder.mkdir()
    log = tmp_path / "evaluators"
    program = folder / "nix-instantiate"
    program.write_text(f'#!/bin/sh\necho $$ >> {log}\nexec {nix_bin}/nix-instantiate "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return lambda: [int(line) for line in log.read_text().split()] if log.exists() else []


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start as many evaluators as there may be, also for small flakes."""
    monkeypatch.setattr(dealing, "WORTH_SECONDS", 0.0)
    monkeypatch.setattr(pool, "TICK_SECONDS", 0.01)


def source_of(tmp_path: Path, outputs: str) -> FlakeSource:
    folder = write_flake(tmp_path / "flake", outputs)
    return read_source(f"path:{folder}", cwd=tmp_path, config=Config())


def with_workers(number: int, **evaluation: object) -> Config:
    return Config(include=("images.**",), evaluation=Evaluation.model_validate({"workers": number, **evaluation}))


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def evaluates(pid: int) -> bool:
    """Whether this is an evaluator still, and not something else that was given its number since."""
    with contextlib.suppress(OSError):
        return b"nix-instantiate" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def everything_that_fails() -> str:
    items = "\n".join(f"m-{name} = {expression};" for name, (expression, _) in FAILING.items())
    good = " ".join(f'g{number} = drv "g{number}" {{ }};' for number in range(6))
    return f""" (let {KILLER} {BUILT} in {{
      packages.x86_64-linux = {{ {items} {good} }};
      checks.x86_64-linux = {{
        built = drv "built" {{ x = readBuilt "good" "echo 1 > $out"; }};
        built-too = drv "built-too" {{ x = readBuilt "good" "echo 1 > $out"; }};
        failing-build = drv "f" {{ x = readBuilt "bad" "echo words; exit 3"; }};
        killed = drv "killed" {{ x = killer "kill -9 $PPID"; }};
      }};
      checks.aarch64-linux = throw "no checks here";
      devShells = 5;
      hydraJobs = {{ a.b = throw "deep"; a.c = drv "c" {{ }}; x.y.z = {{ }}.missing; d = drv "d" {{ }}; }};
      nixosConfigurations = {{ none = {{ }}; text.config.system.build.toplevel = "text"; }};
    }}) """


def without_killer(inventory: Inventory) -> Inventory:
    """Without the build that kills its evaluator: Nix tells of a build once it has begun, here often too late."""
    built = tuple(path for path in inventory.built_during_evaluation if not path.endswith("-killer.drv"))
    return inventory.model_copy(update={"built_during_evaluation": built})


def every_kind() -> str:
    hosts = " ".join(f'slow{number} = host "slow{number}";' for number in range(4))
    return f""" (let {SLOW} all = {OF_EVERY_KIND}; in
      all // {{ nixosConfigurations = all.nixosConfigurations // {{ {hosts} }}; }}) """


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("outputs", [every_kind(), everything_that_fails()], ids=["every kind", "everything fails"])
def test_the_inventory_is_the_same_for_any_number_of_workers(
    outputs: str, tmp_path: Path, started: Callable[[], list[int]]
) -> None:
    source = source_of(tmp_path, outputs)
    # What evaluation needs is built, and told, once only.
    read_inventory(source, with_workers(2))
    known: Inventory | None = None
    for workers in (1, 2, 5):
        before = len(started())
        inventory = without_killer(read_inventory(source, with_workers(workers)))
        assert workers == 1 or len(started()) > before + 1
        known = known or inventory
        assert inventory == known
    assert known is not None
    assert known.outputs


@pytest.mark.usefixtures("eager")
def test_only_some_messages_are_asked_for_and_always_the_same_ones(
    tmp_path: Path, nix_bin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MESSAGES", 3)
    source = source_of(
        tmp_path,
        """{ packages.x86_64-linux = builtins.listToAttrs (builtins.genList (n: {
          name = "p${toString n}"; value = if n / 2 * 2 == n then throw "bad" else drv "p" { inherit n; };
        }) 30); }""",
    )
    inventories = [read_inventory(source, with_workers(workers)) for workers in (1, 2, 5, 5)]
    assert all(inventory == inventories[0] for inventory in inventories)
    messages = [failure.message for failure in inventories[0].failures]
    assert [message.startswith("error: bad") for message in messages] == [True] * 3 + [False] * 12


def test_a_small_flake_has_a_single_evaluator(tmp_path: Path, started: Callable[[], list[int]]) -> None:
    source = source_of(tmp_path, '{ packages.x86_64-linux = { a = drv "a" { }; b = drv "b" { }; }; }')
    assert len(read_inventory(source, with_workers(5)).outputs) == 2
    assert len(started()) == 1


def test_hosts_are_shared_by_two_evaluators_that_are_started_once(
    tmp_path: Path, started: Callable[[], list[int]]
) -> None:
    hosts = " ".join(f'h{number} = host "h{number}";' for number in range(12))
    source = source_of(tmp_path, f"(let {SLOW} in {{ nixosConfigurations = {{ {hosts} }}; }})")
    seen: list[tuple[int, int]] = []
    inventory = read_inventory(source, with_workers(2), on_progress=lambda done, known: seen.append((done, known)))
    assert len(inventory.outputs) == 12
    # They meet in the middle; which one is ended there may have had another host left to take.
    assert 2 <= len(started()) <= 4
    assert seen == sorted(seen)
    assert seen[-1][1] == 14


def test_names_are_known_before_anything_is_looked_at(tmp_path: Path, nix_bin: Path) -> None:
    seen: list[tuple[int, int]] = []
    source = source_of(
        tmp_path,
        f'(let {SLOW} in {{ nixosConfigurations = {{ a = host "a"; b = host "b"; }}; packages.x.y = {{ }}; }})',
    )
    read_inventory(source, with_workers(1), on_progress=lambda done, known: seen.append((done, known)))
    # The root, three sets below it, and three items: before one of these is done, all are known.
    assert max(known for _, known in seen) == 7
    assert all(known == 7 for done, known in seen if done > 4)


@pytest.mark.usefixtures("eager")
def test_a_worker_that_is_killed_loses_nothing(tmp_path: Path, started: Callable[[], list[int]]) -> None:
    hosts = " ".join(f'h{number} = host "h{number}";' for number in range(8))
    source = source_of(tmp_path, f"(let {SLOW} in {{ nixosConfigurations = {{ {hosts} }}; }})")
    killed: list[int] = []
    done = threading.Event()

    def kill() -> None:
        while len(killed) < 2 and not done.wait(0.3):
            running = [pid for pid in started() if pid not in killed and evaluates(pid)]
            if len(started()) >= 2 and running:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(running[0], signal.SIGKILL)
                    killed.append(running[0])

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        inventory = read_inventory(source, with_workers(2))
    finally:
        done.set()
        thread.join()
    assert killed
    assert not inventory.failures
    assert len(inventory.outputs) == 8


def test_each_worker_has_the_memory_ceiling_for_itself(tmp_path: Path, nix_bin: Path) -> None:
    hog = 'builtins.deepSeq (builtins.genList (x: x) 200000000) (drv "x" { })'
    hosts = " ".join(f'h{number} = host "h{number}";' for number in range(4))
    source = source_of(
        tmp_path,
        f"""(let {SLOW} in {{ nixosConfigurations = {{ {hosts}
          big1.config.system.build.toplevel = {hog}; z.config.system.build.toplevel = {hog}; }}; }})""",
    )
    inventory = read_inventory(source, with_workers(2, max_memory_mb=450))
    assert [output.path[-1] for output in inventory.outputs] == ["h0", "h1", "h2", "h3"]
    assert [failure.path[-1] for failure in inventory.failures] == ["big1", "z"]
    assert all("more than 450 MiB" in failure.message for failure in inventory.failures)


def test_one_worker_runs_out_of_time_while_the_others_go_on(tmp_path: Path, started: Callable[[], list[int]]) -> None:
    loop = 'let f = n: if n < 0 then drv "x" { } else f (n + 1); in f 0'
    hosts = " ".join(f'h{number} = host "h{number}";' for number in range(6))
    source = source_of(
        tmp_path,
        f"""(let {SLOW} in {{ nixosConfigurations = {{ {hosts} a.config.system.build.toplevel = {loop}; }}; }})""",
    )
    begun = time.monotonic()
    done_at: list[float] = []

    def progress(done: int, known: int) -> None:
        if done == known - 1 and not done_at:
            done_at.append(time.monotonic() - begun)

    inventory = read_inventory(source, with_workers(2, timeout=8), on_progress=progress)
    assert [failure.path[-1] for failure in inventory.failures] == ["a"]
    assert len(inventory.outputs) == 6
    # All others were done while it still had time; 2.26 and later may end the loop earlier by themselves.
    assert not done_at or done_at[0] < 8


def test_a_flake_that_fails_as_a_whole_is_one_error_for_many_workers(tmp_path: Path, nix_bin: Path) -> None:
    source = source_of(tmp_path, 'throw "nothing at all"')
    with pytest.raises(FlakeError) as raised:
        read_inventory(source, with_workers(5))
    assert "nothing at all" in (raised.value.why or "")


@pytest.fixture
def running(tmp_path: Path, started: Callable[[], list[int]]) -> Iterator[subprocess.Popen[str]]:
    """Our program while two evaluators work for it."""
    hosts = " ".join(
        f"""h{number}.config.system.build.toplevel =
          builtins.seq (builtins.foldl' (a: b: a + b) 0 (builtins.genList (x: x) 100000000)) (drv "h{number}" {{ }});"""
        for number in range(4)
    )
    write_flake(tmp_path / "flake", f"{{ nixosConfigurations = {{ {hosts} }}; }}")
    program = textwrap.dedent(
        f"""
        from pathlib import Path
        from pipelinegen.config import Config, Evaluation
        from pipelinegen.errors import InterruptedRunError
        from pipelinegen.inventory.read import read_inventory, read_source
        from pipelinegen.process import interruptible
        config = Config(evaluation=Evaluation(workers=2))
        try:
            with interruptible():
                read_inventory(read_source("path:{tmp_path}/flake", cwd=Path("/"), config=config), config)
        except InterruptedRunError as error:
            raise SystemExit(error.exit_code)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program], text=True, stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + 30
        while len(started()) < 2:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(0.3)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_all_workers(
    number: signal.Signals, running: subprocess.Popen[str], started: Callable[[], list[int]]
) -> None:
    evaluators = started()
    assert all(map(alive, evaluators))
    begun = time.monotonic()
    running.send_signal(number)
    _, said = running.communicate(timeout=20)
    assert running.returncode == 128 + number
    assert time.monotonic() - begun < 3
    assert not [pid for pid in started() if alive(pid)]
    assert said == ""
