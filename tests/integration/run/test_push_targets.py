"""`run push --targets` with real Nix: evaluate, fetch or build, push."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelinegen.cli import run_command_line
from tests.integration.run.conftest import Caches, Store

pytestmark = pytest.mark.nix

SYSTEM = "x86_64-linux"
FLAKE = """
{
  outputs = _:
    let
      make = name: script: inputs: more: derivation ({
        inherit name inputs;
        system = "x86_64-linux";
        builder = "/bin/sh";
        args = [ "-c" script ];
      } // more);
      # Each build leaves a line beside the store.
      counted = name: "echo ${name} >> $NIX_STORE.built; echo ${name} $inputs > $out";
      here = { preferLocalBuild = true; allowSubstitutes = false; };
    in {
      packages.x86_64-linux = rec {
        lib = make "lib" (counted "lib") [ ] { };
        local = make "local" (counted "local") [ ] here;
        app = make "app" (counted "app") [ lib local ] { };
        top = make "top" (counted "top") [ app ] here;
        broken = make "broken" "echo last words; exit 1" [ lib ] { };
        bad = throw "it is not meant to be";
        unwanted = make "unwanted" "true > $out" [ ] { meta = { broken = true; }; };
      };
    };
}
"""


class Project:
    """A folder with the flake and a configuration, and what was built."""

    def __init__(self, folder: Path, store: Store, caches: Caches) -> None:
        self.folder = folder
        self.store = store
        self.caches = caches
        self.built_file = store.root / "store.built"
        folder.mkdir()
        (folder / "flake.nix").write_text(FLAKE)
        lines = ['handoff = { mode = "cache", protected = "ours", unprotected = "theirs" }']
        for name, cache in caches.config.caches.items():
            lines += [f"[caches.{name}]", f'url = "{cache.url}"', f'writers = "{cache.writers}"']
            lines += [f'public_key = "{cache.public_key}"', f'secret_key_file = "{cache.secret_key_file}"']
            lines += [f"publish = {str(cache.publish).lower()}"]
        (folder / "pipelinegen.toml").write_text("\n".join(lines))

    def push(self, *patterns: str, to: tuple[str, ...] = ("public",), more: tuple[str, ...] = ()) -> int:
        words = [word for name in to for word in ("--to", name)]
        words += [word for pattern in patterns for word in ("--targets", pattern)]
        return run_command_line(["-C", str(self.folder), "run", "push", *words, *more])

    def held(self, cache: str = "public") -> set[str]:
        """Names of what a cache holds."""
        files = (self.caches.folder / cache).glob("*.narinfo")
        paths = [line for file in files for line in file.read_text().splitlines() if line.startswith("StorePath: ")]
        return {path.rsplit("-", 1)[-1] for path in paths}

    def built(self) -> list[str]:
        """What was built since the last time, in order."""
        names = self.built_file.read_text().split() if self.built_file.exists() else []
        self.built_file.unlink(missing_ok=True)
        return names


@pytest.fixture
def project(tmp_path: Path, store: Store, caches: Caches) -> Project:
    return Project(tmp_path / "project", store, caches)


def test_what_matches_is_built_and_pushed_with_its_closure(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    assert project.push("packages.*.top", "packages.*.l?b") == 0
    assert sorted(project.built()) == ["app", "lib", "local", "top"]
    assert project.held() == {"app", "lib", "local", "top"}
    assert "broken" not in capfd.readouterr().err


def test_what_is_here_is_not_made_again_and_needs_no_cache(project: Project) -> None:
    assert project.push("packages.*.top", to=("ours",)) == 0
    project.built()
    shutil.rmtree(project.caches.folder / "ours")
    assert project.push("packages.*.top") == 0
    assert project.built() == []
    assert project.held() == {"app", "lib", "local", "top"}


def test_what_a_trusted_cache_holds_is_fetched_also_where_nix_would_rather_build(project: Project) -> None:
    assert project.push("packages.*.top", to=("ours",)) == 0
    assert sorted(project.built()) == ["app", "lib", "local", "top"]
    project.store.empty()
    assert project.push("packages.*.top") == 0
    assert project.built() == [], "neither top nor local is substituted by Nix alone"
    assert project.held() == {"app", "lib", "local", "top"}


def test_inputs_of_what_must_be_built_are_fetched_by_name(project: Project) -> None:
    assert project.push("packages.*.app", to=("ours",)) == 0
    project.built()
    project.store.empty()
    assert project.push("packages.*.top") == 0
    assert project.built() == ["top"]


def test_what_merge_requests_wrote_is_not_published(project: Project) -> None:
    assert project.push("packages.*.lib", to=("theirs",)) == 0
    project.store.empty()
    project.built()
    assert project.push("packages.*.lib") == 0
    assert project.built() == ["lib"], "it was there, and not believed"
    project.store.empty()
    assert project.push("packages.*.lib", to=("theirs",)) == 0
    assert project.built() == [], "what goes to that cache may come from it"


def test_what_a_cache_promised_and_does_not_deliver_is_built(project: Project) -> None:
    assert project.push("packages.*.lib", to=("ours",)) == 0
    project.store.empty()
    project.built()
    for file in (project.caches.folder / "ours" / "nar").iterdir():
        file.write_bytes(b"broken")
    assert project.push("packages.*.lib") == 0
    assert project.built() == ["lib"]


def test_one_that_fails_does_not_keep_the_others_from_being_pushed(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    assert project.push("packages.**") == 1
    said = capfd.readouterr().err
    assert project.held() == {"app", "lib", "local", "top"}
    assert "broken failed" in said
    assert "| last words" in said
    assert "packages.x86_64-linux.bad did not evaluate" in said
    assert "it is not meant to be" in said
    assert "unwanted is not pushed" in said
    assert "2 of 6 chosen outputs could neither be fetched nor built" in said
    assert "the others were pushed" in said


@pytest.mark.parametrize("pattern", ["packages.*.broken", "packages.*.bad"])
def test_where_nothing_could_be_had_nothing_is_pushed(
    project: Project, pattern: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert project.push(pattern) == 1
    assert project.held() == set()
    said = capfd.readouterr().err
    assert "1 of 1 chosen outputs could neither be fetched nor built" in said
    assert "the others were pushed" not in said


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (("packages.*.lib", "packages.x86_64-linux.tops"), "did you mean packages.x86_64-linux.top"),
        (("packages.*.nothing-like-it",), "no output of the flake matches 'packages.*.nothing-like-it'"),
        (("packages.*.unwanted",), "nothing that matches can be pushed"),
    ],
    ids=["a slip", "nothing", "only what must not be built"],
)
def test_a_pattern_that_names_nothing_to_push_is_wrong_use(
    project: Project, patterns: tuple[str, ...], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert project.push(*patterns) == 2
    assert words in capfd.readouterr().err
    assert project.held() == set()


def test_another_flake_several_caches_and_reports(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "flake.nix").write_text(FLAKE.replace("top", "summit"))
    files = ("--junit", "junit.xml", "--report", "push.json", "--metrics", "metrics.txt")
    to = ("public", "ours", "public")
    assert project.push("packages.*.summit", to=to, more=("--flake", str(elsewhere), *files)) == 0
    assert project.held() == project.held("ours") == {"app", "lib", "local", "summit"}
    left = {file.name for file in project.folder.iterdir()} - {"flake.nix", "flake.lock", "pipelinegen.toml"}
    assert left == {
        *("junit.xml", "junit-ours.xml", "push.json", "push-ours.json", "metrics.txt", "metrics-ours.txt"),
    }
    assert 'cache="ours"' in (project.folder / "metrics-ours.txt").read_text()


def test_touching_fetches_what_was_there_already(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    assert project.push("packages.*.lib") == 0
    capfd.readouterr()
    assert project.push("packages.*.lib", more=("--touch",)) == 0
    assert "fetching 1 paths that cache public held" in capfd.readouterr().err
