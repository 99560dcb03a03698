"""Every derivation path is the one that `nix eval` gives: for every kind of tree, and every kind of input."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelinegen import nix
from pipelinegen.config import Config
from pipelinegen.inventory.model import Inventory
from pipelinegen.inventory.read import read_inventory, read_source, source_at
from tests.gitrepo import clone_shallow, commit, git, make_repo, make_server, push, stage
from tests.integration.inventory.conftest import flake_text, nix_eval, write_flake

pytestmark = pytest.mark.nix

EVERYTHING = """
  (let
    told = x: builtins.toJSON (builtins.mapAttrs (_: v: builtins.unsafeDiscardStringContext (toString v))
      (removeAttrs x [ "inputs" "outputs" "packages" "sourceInfo" "lib" "hydraJobs" "nixosConfigurations" ]));
    about = x: {
      told = told x;
      names = builtins.attrNames x;
      info = told (x.sourceInfo or { });
      tree = x;
      text = "${x}";
      place = x.outPath;
      top = x.sourceInfo.outPath or "none";
    };
    flat = prefix: set: builtins.listToAttrs
      (map (n: { name = "${prefix}_${n}"; value = set.${n}; }) (builtins.attrNames set));
    others = removeAttrs inputs [ "self" ];
  in {
    packages.x86_64-linux = {
      self = drv "self" (flat "self" (about self) // { here = ./.; file = ./flake.nix; });
      lib = drv "lib" { file = builtins.readFile ./flake.nix; names = builtins.attrNames (builtins.readDir ./.); };
      "odd.na me" = drv "odd" { inherit (self) outPath; };
    } // builtins.mapAttrs (n: x: drv n (flat n (about x) // { used = x.lib.value or "none"; })) others;
    nixosConfigurations.web1.config.system.build.toplevel = drv "system" { rev = self.rev or self.dirtyRev or "?"; };
  })
"""

FLAKE = flake_text(EVERYTHING)


def assert_same(inventory: Inventory, reference: str, *, cwd: Path) -> None:
    assert not inventory.failures
    assert inventory.outputs
    for output in inventory.outputs:
        assert output.drv_path == nix_eval(reference, f"{output.drv_attr}.drvPath", cwd=cwd), output.attr


def check(reference: str, *, cwd: Path) -> Inventory:
    source = read_source(reference, cwd=cwd, config=Config())
    inventory = read_inventory(source, Config())
    assert_same(inventory, reference, cwd=cwd)
    return inventory


def _clean(folder: Path) -> tuple[str, Path]:
    commit(folder, {"flake.nix": FLAKE, "a file": "1"})
    commit(folder, {"a file": "2"})
    return ".", folder


def _changed(folder: Path) -> tuple[str, Path]:
    _clean(folder)
    (folder / "a file").write_text("changed")
    return ".", folder


def _added(folder: Path) -> tuple[str, Path]:
    _clean(folder)
    (folder / "untracked").write_text("x")
    stage(folder, {"added": "x"})
    return ".", folder


def _without_commit(folder: Path) -> tuple[str, Path]:
    stage(folder, {"flake.nix": FLAKE})
    return ".", folder


def _below(folder: Path) -> tuple[str, Path]:
    commit(folder, {"some/where/flake.nix": FLAKE, "top": "1"})
    return ".", folder / "some/where"


def _below_by_url(folder: Path) -> tuple[str, Path]:
    commit(folder, {"sub/flake.nix": FLAKE, "flake.nix": "{ outputs = _: { }; }"})
    return f"git+file://{folder}?dir=sub", folder.parent


def _changed_below(folder: Path) -> tuple[str, Path]:
    commit(folder, {"sub/flake.nix": FLAKE, "top": "1"})
    (folder / "top").write_text("2")
    return "./sub", folder


def _submodules(folder: Path) -> tuple[str, Path]:
    other = make_repo(folder.parent / "other")
    commit(other, {"content": "of a submodule"})
    git(folder, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "mod")
    commit(folder, {"flake.nix": FLAKE})
    return f"git+file://{folder}?submodules=1", folder


def _changed_submodules(folder: Path) -> tuple[str, Path]:
    reference, cwd = _submodules(folder)
    (folder / "mod/content").write_text("changed")
    return reference, cwd


def _at_a_commit(folder: Path) -> tuple[str, Path]:
    first = commit(folder, {"flake.nix": FLAKE})
    commit(folder, {"flake.nix": "{ outputs = _: { }; }"})
    return f"git+file://{folder}?rev={first}", folder


def _at_a_branch(folder: Path) -> tuple[str, Path]:
    commit(folder, {"flake.nix": FLAKE})
    git(folder, "branch", "side")
    commit(folder, {"flake.nix": "{ outputs = _: { }; }"})
    return f"git+file://{folder}?ref=side", folder


def _detached(folder: Path) -> tuple[str, Path]:
    _clean(folder)
    git(folder, "checkout", "--quiet", "--detach", "HEAD^")
    return ".", folder


def _shallow(folder: Path) -> tuple[str, Path]:
    _clean(folder)
    server = make_server(folder.parent / "server.git")
    head = git(folder, "rev-parse", "HEAD")
    push(folder, server, {"refs/heads/main": head})
    return ".", clone_shallow(server, folder.parent / "clone", head, depth=1)


def _shallow_and_changed(folder: Path) -> tuple[str, Path]:
    reference, clone = _shallow(folder)
    (clone / "a file").write_text("changed")
    return reference, clone


def _worktree(folder: Path) -> tuple[str, Path]:
    _clean(folder)
    git(folder, "worktree", "add", "--quiet", folder.parent / "tree", "HEAD^")
    return ".", folder.parent / "tree"


def _odd_name(folder: Path) -> tuple[str, Path]:
    odd = make_repo(folder.parent / "a-repo+b=c,d~1")
    commit(odd, {"flake.nix": FLAKE})
    return ".", odd


def _plain_folder(folder: Path) -> tuple[str, Path]:
    place = write_flake(folder.parent / "plain", EVERYTHING)
    return f"path:{place}", place


def _folder_without_git(folder: Path) -> tuple[str, Path]:
    return ".", write_flake(folder.parent / "plain", EVERYTHING)


TREES: tuple[Callable[[Path], tuple[str, Path]], ...] = (
    _clean,
    _changed,
    _added,
    _without_commit,
    _below,
    _below_by_url,
    _changed_below,
    _submodules,
    _changed_submodules,
    _at_a_commit,
    _at_a_branch,
    _detached,
    _shallow,
    _shallow_and_changed,
    _worktree,
    _odd_name,
    _plain_folder,
    _folder_without_git,
)


@pytest.mark.parametrize("make", TREES, ids=lambda make: make.__name__.strip("_"))
def test_derivations_are_those_of_nix_eval(
    make: Callable[[Path], tuple[str, Path]], nix_bin: Path, tmp_path: Path
) -> None:
    reference, cwd = make(make_repo(tmp_path / "repo"))
    check(reference, cwd=cwd)


def test_a_flake_below_a_plain_folder_is_that_of_nix_eval(nix_bin: Path, tmp_path: Path) -> None:
    if nix.version().startswith("2.8."):
        pytest.skip("this Nix takes no `dir` with `path:`")
    write_flake(tmp_path / "plain/sub", EVERYTHING)
    check(f"path:{tmp_path}/plain?dir=sub", cwd=tmp_path)


LIBRARY = (
    '(let value = "1"; in { lib = { inherit value; tree = self.outPath; }; packages.x86_64-linux.x = drv "x" { }; })'
)


def _nix(folder: Path, *arguments: str) -> None:
    ended = subprocess.run(["nix", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr


def _git_input(folder: Path) -> str:
    library = make_repo(folder / "library")
    commit(library, {"flake.nix": flake_text(LIBRARY), "sub/flake.nix": flake_text(LIBRARY), "text": "1"})
    commit(library, {"text": "2"})
    return f"git+file://{library}"


def _follows(folder: Path) -> str:
    url = _git_input(folder)
    middle = make_repo(folder / "middle")
    text = flake_text(LIBRARY, f'inputs.base.url = "{url}"; inputs.own.url = "{url}?dir=sub";')
    commit(middle, {"flake.nix": text})
    return (
        f'inputs.base.url = "{url}"; inputs.middle.url = "git+file://{middle}"; '
        'inputs.middle.inputs.base.follows = "base"; inputs.deep.follows = "middle/own"; '
        'inputs.again.follows = "middle/base";'
    )


INPUTS: dict[str, Callable[[Path], str]] = {
    "git": lambda folder: f'inputs.base.url = "{_git_input(folder)}";',
    "git-subdirectory": lambda folder: f'inputs.base.url = "{_git_input(folder)}?dir=sub";',
    "git-shallow": lambda folder: f'inputs.base.url = "{_git_input(folder)}?shallow=1";',
    "no-flake": lambda folder: f'inputs.base = {{ url = "{_git_input(folder)}"; flake = false; }};',
    "follows": _follows,
    "folder": lambda folder: f'inputs.base.url = "path:{write_flake(folder / "plain", LIBRARY)}";',
    "odd-input-name": lambda folder: f'inputs."in".url = "{_git_input(folder)}";',
}


@pytest.mark.parametrize("locked", [True, False], ids=["locked", "no-lock-file"])
@pytest.mark.parametrize("kind", INPUTS)
def test_inputs_are_those_of_nix_eval(kind: str, locked: bool, nix_bin: Path, tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo")
    commit(repo, {"flake.nix": flake_text(EVERYTHING, INPUTS[kind](tmp_path))})
    if locked:
        _nix(repo, "flake", "lock")
        stage(repo, {"flake.lock": (repo / "flake.lock").read_text()})
        commit(repo, {})
    inventory = check(".", cwd=repo)
    assert inventory.source.dirty is not locked
    assert (repo / "flake.lock").exists() is locked


def test_a_lock_file_that_is_out_of_date_is_completed_as_nix_does(nix_bin: Path, tmp_path: Path) -> None:
    url = _git_input(tmp_path)
    repo = make_repo(tmp_path / "repo")
    commit(repo, {"flake.nix": flake_text(EVERYTHING, f'inputs.base.url = "{url}";')})
    _nix(repo, "flake", "lock")
    text = flake_text(EVERYTHING, f'inputs.base.url = "{url}"; inputs.more.url = "{url}?dir=sub";')
    commit(repo, {"flake.nix": text, "flake.lock": (repo / "flake.lock").read_text()})
    inventory = check(".", cwd=repo)
    assert inventory.source.dirty
    assert {output.path[-1] for output in inventory.outputs} >= {"base", "more"}


def test_an_input_that_is_in_the_store_is_not_fetched_again(nix_bin: Path, tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo")
    commit(repo, {"flake.nix": flake_text(EVERYTHING, f'inputs.base.url = "{_git_input(tmp_path)}";')})
    _nix(repo, "flake", "lock")
    commit(repo, {"flake.lock": (repo / "flake.lock").read_text()})
    before = check(".", cwd=repo)
    shutil.rmtree(tmp_path / "library")
    shutil.rmtree(tmp_path / "nix/cache")
    assert check(".", cwd=repo).outputs == before.outputs


def test_inside_a_git_hook_the_named_repository_is_read(
    nix_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, other = make_repo(tmp_path / "repo"), make_repo(tmp_path / "other")
    commit(repo, {"flake.nix": FLAKE})
    commit(other, {"flake.nix": "{ outputs = _: { }; }"})
    before = check(".", cwd=repo)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    source = read_source(".", cwd=repo, config=Config())
    assert read_inventory(source, Config()) == before


RELATIVE = 'inputs.base.url = "path:./sub"; inputs.data = { url = "path:./data"; flake = false; };'
NESTED = flake_text(LIBRARY, 'inputs.inner.url = "path:./inner";')


@pytest.mark.parametrize("below", ["", "deep/down/"], ids=["at-the-top", "in-a-subdirectory"])
@pytest.mark.parametrize("locked", [True, False], ids=["locked", "no-lock-file"])
def test_relative_inputs_are_those_of_nix_eval(locked: bool, below: str, nix_bin: Path, tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo")
    files = {
        "flake.nix": flake_text(EVERYTHING, RELATIVE),
        "sub/flake.nix": NESTED,
        "sub/inner/flake.nix": flake_text(LIBRARY),
        "data/x": "1",
    }
    commit(repo, {below + name: text for name, text in files.items()})
    place = repo / below
    refused = subprocess.run(["nix", "flake", "lock"], cwd=place, capture_output=True, text=True, check=False)
    if refused.returncode != 0:
        pytest.skip(f"this Nix has no such inputs: {refused.stderr.strip().splitlines()[-1]}")
    lock = (place / "flake.lock").read_text()
    git(repo, "reset", "--quiet", "--hard")
    if locked:
        commit(repo, {f"{below}flake.lock": lock})
    inventory = check(".", cwd=place)
    assert inventory.source.dirty is not locked


def test_another_commit_gives_the_derivations_of_its_checkout(nix_bin: Path, tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo")
    first = commit(repo, {"sub/flake.nix": FLAKE, "top": "1"})
    checkout = check(".", cwd=repo / "sub")
    commit(repo, {"sub/flake.nix": FLAKE.replace("web1", "web2"), "top": "2"})
    (repo / "top").write_text("changed")
    for place in (repo, read_source("./sub", cwd=repo, config=Config())):
        source = source_at(place, first, "sub", config=Config())
        assert source.rev == first
        assert read_inventory(source, Config()).outputs == checkout.outputs


def test_another_commit_of_a_shallow_clone_gives_the_derivations_of_its_checkout(nix_bin: Path, tmp_path: Path) -> None:
    # Not what uses `self.revCount`: 2.26 counts the commits of a shallow clone, but not for a named commit.
    outputs = """{
      packages.x86_64-linux.a = drv "a" { inherit (self) rev shortRev lastModified narHash; tree = self; };
    }"""
    work = make_repo(tmp_path / "work")
    commit(work, {"flake.nix": flake_text(outputs), "top": "0"})
    first = commit(work, {"top": "1"})
    second = commit(work, {"top": "2"})
    server = make_server(tmp_path / "server.git")
    push(work, server, {"refs/heads/main": second})
    clone = clone_shallow(server, tmp_path / "clone", second, depth=2)
    source = source_at(clone, first, config=Config())
    git(clone, "checkout", "--quiet", first)
    assert read_inventory(source, Config()).outputs == check(".", cwd=clone).outputs
