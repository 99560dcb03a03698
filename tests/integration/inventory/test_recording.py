"""What each attribute is recorded to have read: the table of what Nix reads, and everything that could falsify it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelinegen import inotify
from pipelinegen.config import Config, Evaluation
from pipelinegen.inventory import pool, recording
from pipelinegen.inventory.read import read_source
from pipelinegen.inventory.recording import NotRecordedError, Recorder
from pipelinegen.inventory.results import Reads
from pipelinegen.inventory.survey import Survey, survey
from tests.integration.inventory.conftest import write_flake

pytestmark = pytest.mark.nix

FILES = {"src/a.txt": "a", "src/b.txt": "b", "lib/h.nix": "import ./i.nix", "lib/i.nix": '"i"', "README": "r"}

AWKWARD = """{
  packages.x86_64-linux = {
    file = drv "file" { text = "${./src/a.txt}"; };
    folder = drv "folder" { text = "${./src}"; };
    read = drv "read" { text = builtins.readFile ./src/a.txt; };
    list = drv "list" { text = builtins.attrNames (builtins.readDir ./src); };
    nothing = drv "nothing" { };
    self = drv "self" { text = "${self}"; };
    date = drv "date" { text = self.lastModifiedDate; };
    nested = drv "nested" { text = import ./lib/h.nix; };
    exists = drv "exists" { text = builtins.pathExists ./lib/h.nix; };
    filtered = drv "filtered" { text = builtins.path { path = ./.; filter = path: _: baseNameOf path == "lib"; }; };
  };
}"""

READS = {
    "file": ({"src/a.txt"}, set(), set()),
    "folder": ({"src/a.txt", "src/b.txt"}, {"src"}, set()),
    "read": ({"src/a.txt"}, set(), set()),
    "list": (set(), {"src"}, set()),
    "nothing": (set(), set(), set()),
    "self": (set(), set(), set()),
    "date": (set(), set(), {"lastModifiedDate"}),
    "nested": ({"lib/h.nix", "lib/i.nix"}, set(), set()),
    "exists": (set(), set(), set()),
    "filtered": (set(), {"", "lib"}, set()),
}

Recorded = Callable[..., Survey]


@pytest.fixture
def recorded(nix_bin: Path, tmp_path: Path) -> Recorded:
    """`recorded(outputs, backwards=…, files=…, more settings of evaluation)`: what a recording run says."""

    def run(
        outputs: str, *, files: dict[str, str] | None = None, backwards: bool = False, **evaluation: object
    ) -> Survey:
        folder = tmp_path / "flake"
        if not folder.exists():
            write_flake(folder, outputs, files=FILES if files is None else files)
        config = Config(evaluation=Evaluation(**({"workers": 1} | evaluation)))
        source = read_source(f"path:{folder}", cwd=tmp_path, config=config)
        return survey(source, config, record=True, backwards=lambda: backwards)

    return run


def reads_of(survey: Survey) -> dict[str, Reads]:
    """Of outputs, by the last part of their names."""
    assert survey.not_recorded is None
    return {
        key[0][-1]: one.reads
        for key, one in survey.evaluated.items()
        if key[1] == "item" and one.reads is not None and one.result.output is not None
    }


def both_ways(recorded: Recorded, outputs: str, **settings: object) -> dict[str, Reads]:
    forwards = reads_of(recorded(outputs, **settings))
    backwards = reads_of(recorded(outputs, backwards=True, **settings))
    return {name: forwards[name] & backwards[name] for name in forwards}


def test_two_directions_leave_what_an_output_reads(recorded: Recorded) -> None:
    found = both_ways(recorded, AWKWARD)
    assert found["exists"] == Reads(frozenset({"flake.nix"}))
    # What stands between users of a file cannot be told apart from them.
    assert found["list"] == Reads(frozenset({"flake.nix", "src/a.txt"}), frozenset({"src"}))
    for name, (files, folders, metadata) in READS.items():
        reads = found[name]
        assert reads.files >= {"flake.nix", *files}, name
        assert reads.folders >= folders, name
        assert reads.metadata == metadata, name
    assert all("README" not in reads.files for reads in found.values())


@pytest.mark.parametrize("name", READS)
def test_an_output_alone_is_recorded_exactly(recorded: Recorded, name: str) -> None:
    outputs = AWKWARD.replace("packages.x86_64-linux = {", "packages.x86_64-linux = only {").replace(
        "{\n  packages", f"let only = all: {{ inherit (all) {name}; }}; in {{\n  packages", 1
    )
    files, folders, metadata = READS[name]
    assert reads_of(recorded(outputs))[name] == Reads(
        frozenset({"flake.nix", *files}), frozenset(folders), frozenset(metadata)
    )


HOSTS = 12
FLEET = f"""{{
  packages.x86_64-linux = builtins.listToAttrs (builtins.genList (number: rec {{
    name = "h${{toString (100 + number)}}";
    value = drv name {{ text = import (./hosts + "/${{name}}.nix"); }};
  }}) {HOSTS});
}}"""
FLEET_FILES = {
    f"hosts/h{100 + number}.nix": "builtins.foldl' (a: b: a + b) 0 (builtins.genList (n: n) 60000)"
    for number in range(HOSTS)
}


def test_with_one_evaluator_each_output_of_a_fleet_reads_its_own_file(recorded: Recorded) -> None:
    found = both_ways(recorded, FLEET, files=FLEET_FILES)
    assert {name: reads.files for name, reads in found.items()} == {
        name: {"flake.nix", f"hosts/{name}.nix"} for name in found
    }
    assert len(found) == HOSTS


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_with_several_evaluators_nothing_is_missing_and_little_too_much(recorded: Recorded, workers: int) -> None:
    found = both_ways(recorded, FLEET, files=FLEET_FILES, workers=workers)
    assert all(f"hosts/{name}.nix" in reads.files for name, reads in found.items())


def test_what_was_opened_earlier_in_the_process_belongs_to_a_later_output(recorded: Recorded) -> None:
    package = 'drv "x" { text = import ./lib/h.nix; }'
    outputs = f"{{ packages.x86_64-linux = {{ a = {package}; b = {package}; }}; }}"
    assert {"lib/h.nix", "lib/i.nix"} <= reads_of(recorded(outputs))["b"].files


def test_sets_are_recorded_with_what_their_names_need(recorded: Recorded) -> None:
    outputs = '{ packages.x86_64-linux = builtins.mapAttrs (name: _: drv "x" { }) (builtins.readDir ./src); }'
    found = recorded(outputs)
    names = found.evaluated[("packages", "x86_64-linux"), "set"]
    assert names.result.names == ("a.txt", "b.txt")
    assert names.reads is not None
    assert names.reads.folders == {"src"}


def test_what_needs_a_build_is_evaluated_without_a_record(recorded: Recorded) -> None:
    outputs = """{
      packages.x86_64-linux = {
        a = drv "a" { };
        b = drv "b" { text = builtins.readFile "${drv "b-text" { }}"; };
        c = drv "c" { text = import ./lib/h.nix; };
      };
    }"""
    found = recorded(outputs)
    assert [output.path[-1] for output in found.inventory.outputs] == ["a", "b", "c"]
    assert not found.inventory.failures
    needs = found.evaluated[("packages", "x86_64-linux", "b"), "item"]
    assert (needs.reads, needs.builds) == (None, True)
    assert set(reads_of(found)) == {"a", "c"}
    assert "lib/h.nix" in reads_of(found)["c"].files


def test_recording_is_given_up_where_everything_needs_builds(recorded: Recorded) -> None:
    count = pool.MOST_BUILDS + 4
    outputs = f"""{{
      packages.x86_64-linux = builtins.listToAttrs (builtins.genList (number: rec {{
        name = "p${{toString number}}";
        value = drv name {{ text = builtins.readFile "${{drv "text-${{toString number}}" {{ }}}}"; }};
      }}) {count});
    }}"""
    found = recorded(outputs)
    assert len(found.inventory.outputs) == count
    assert found.not_recorded is not None
    assert "import from derivation" in found.not_recorded
    assert all(one.reads is None for key, one in found.evaluated.items() if key[1] == "item")


def test_a_failure_says_the_same_as_without_recording(recorded: Recorded, tmp_path: Path) -> None:
    outputs = """{
      packages.x86_64-linux = {
        a = throw "no such luck";
        b = drv "b" { text = builtins.readFile "${drv "fails" { args = [ "-c" "exit 3" ]; }}"; };
        c = drv "c" { text = 1 + "one"; };
        d = drv "d" { };
      };
    }"""
    found = recorded(outputs).inventory
    config = Config(evaluation=Evaluation(workers=1))
    plain = survey(read_source(f"path:{tmp_path}/flake", cwd=tmp_path, config=config), config).inventory
    assert found.failures == plain.failures
    assert len(found.failures) == 3


def test_missed_events_void_everything(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    events = inotify.Inotify.events

    def missed(queue: inotify.Inotify) -> object:
        yield from events(queue)
        yield inotify.Event(-1, inotify.OVERFLOW, b"")

    monkeypatch.setattr(inotify.Inotify, "events", missed)
    found = recorded(AWKWARD)
    assert all(one.reads is None for one in found.evaluated.values())
    assert len(found.inventory.outputs) == len(READS)


def test_where_nothing_can_be_watched_everything_is_evaluated_and_it_is_said(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_queue: inotify.Inotify, folder: bytes) -> int:
        raise OSError(28, os.strerror(28), folder)

    monkeypatch.setattr(inotify.Inotify, "watch", refuse)
    found = recorded(AWKWARD)
    assert found.not_recorded is not None
    assert "max_user_watches" in found.not_recorded
    assert len(found.inventory.outputs) == len(READS)


def test_another_program_that_reads_meanwhile_only_adds(recorded: Recorded, tmp_path: Path) -> None:
    forwards = reads_of(recorded(AWKWARD))
    source = read_source(f"path:{tmp_path}/flake", cwd=tmp_path, config=Config())
    looking = subprocess.Popen(
        ["sh", "-c", f"while :; do cat {source.store_path}/README; done"], stdout=subprocess.DEVNULL
    )
    try:
        disturbed = reads_of(recorded(AWKWARD))
    finally:
        looking.kill()
        looking.wait()
    assert all(disturbed[name].files - {"README"} == reads.files for name, reads in forwards.items())


def test_a_program_that_reads_the_marks_voids_everything(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = Recorder.end

    def read_by_others(recorder: Recorder, number: int) -> list[Reads]:
        subprocess.run(["nix-store", "--dump", recorder.marks_path], stdout=subprocess.DEVNULL, check=True)
        return ended(recorder, number)

    monkeypatch.setattr(Recorder, "end", read_by_others)
    found = recorded(AWKWARD)
    assert found.not_recorded is not None
    assert "marks" in found.not_recorded
    assert all(one.reads is None for one in found.evaluated.values())


def test_a_cache_folder_of_nix_itself_hides_nothing(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIX_CACHE_HOME", str(tmp_path / "nix-caches"))
    for _ in range(2):
        found = reads_of(recorded(AWKWARD, backwards=True))
        assert {"src/a.txt", "src/b.txt"} <= found["folder"].files


def test_where_builds_are_forbidden_what_needs_one_fails_and_all_else_is_recorded(recorded: Recorded) -> None:
    count = pool.MOST_BUILDS + 2
    outputs = f"""{{
      packages.x86_64-linux = {{ plain = drv "plain" {{ }}; }} // builtins.listToAttrs (builtins.genList (number: rec {{
        name = "b${{toString number}}";
        value = drv name {{ text = builtins.readFile "${{drv "text-${{toString number}}" {{ }}}}"; }};
      }}) {count});
    }}"""
    found = recorded(outputs, allow_import_from_derivation=False)
    assert len(found.inventory.failures) == count
    assert set(reads_of(found)) == {"plain"}


def test_a_flake_that_is_a_symbolic_link_has_no_records_and_that_is_said(recorded: Recorded, tmp_path: Path) -> None:
    folder = write_flake(tmp_path / "flake", '{ packages.x86_64-linux.a = drv "a" { }; }')
    (folder / "flake.nix").rename(folder / "real.nix")
    (folder / "flake.nix").symlink_to("real.nix")
    found = recorded("")
    assert found.not_recorded is not None
    assert "symbolic link" in found.not_recorded
    assert len(found.inventory.outputs) == 1


def test_what_nix_noted_of_fetched_trees_is_kept_and_nothing_else(nix_bin: Path, tmp_path: Path) -> None:
    folder = write_flake(tmp_path / "flake", AWKWARD, files=FILES)
    config = Config(evaluation=Evaluation(workers=1))
    source = read_source(f"path:{folder}", cwd=tmp_path, config=config)
    for backwards in (False, True):
        found = survey(source, config, record=True, kept=tmp_path / "kept", backwards=lambda: backwards)  # noqa: B023
        assert {"src/a.txt", "src/b.txt"} <= reads_of(found)["folder"].files
    for file in (tmp_path / "kept").glob("*"):  # Nix 2.8 notes nothing
        assert b"src" not in file.read_bytes()


def test_read_sets_that_grow_are_shared_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    bits = [(1 << count) - 1 for count in range(1, 101)]
    assert recording.coarser(bits) == bits
    monkeypatch.setattr(recording, "MOST_ENTRIES", 500)
    shared = recording.coarser(bits)
    assert sum(one.bit_count() for one in set(shared)) <= 500
    assert all(more & one == one for one, more in zip(bits, shared, strict=True))


def test_a_tree_that_is_gone_cannot_be_recorded(tmp_path: Path) -> None:
    with pytest.raises(NotRecordedError):
        Recorder(str(tmp_path / "gone"), str(tmp_path))
