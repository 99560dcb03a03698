"""What the repository says of itself: hostile names, dirt, odd repositories, a hostile environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelinegen.changes.model import Base, Head
from pipelinegen.changes.read import Repository
from pipelinegen.errors import GitError
from tests.gitrepo import clone_shallow, commit, git, make_repo, make_server, merge, push, stage

pytestmark = pytest.mark.processes

HOSTILE = (
    "-dash",
    "--output=x",
    "a\nb",
    'say "hi"',
    "it's",
    "tab\there",
    "back\\slash",
    " leading and trailing ",
    "🦊.nix",
    "$(touch x)",
    "*",
    ":(top)x",
    "é",
    "e\u0301",
    "deep/er/\n/x",
)


def since(rev: str) -> Base:
    return Base(rev=rev, rule="test", reason="test")


def changed(repo: Repository, rev: str) -> tuple[str, ...] | None:
    return repo.changed_files(since(rev), repo.head())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_repo(tmp_path / "repo")


class TestOpening:
    def test_a_subfolder_belongs_to_the_repository_around_it(self, folder: Path) -> None:
        commit(folder, {"deep/er/flake.nix": "{ }"})
        assert Repository.open(folder / "deep/er").top == folder

    def test_a_linked_work_tree_is_a_repository(self, folder: Path, tmp_path: Path) -> None:
        head = commit(folder, {"a": "1"})
        git(folder, "worktree", "add", "--quiet", "--detach", tmp_path / "linked")
        repo = Repository.open(tmp_path / "linked")
        assert (repo.top, repo.head().rev) == (tmp_path / "linked", head)

    @pytest.mark.parametrize("name", ["line\nbreak", "$HOME", "~root", "🦊 fox", "-x"])
    def test_a_folder_may_have_any_name(self, tmp_path: Path, name: str) -> None:
        commit(make_repo(tmp_path / name), {"sub/a": "1"})
        assert Repository.open(tmp_path / name / "sub").top == tmp_path / name

    @pytest.mark.parametrize("place", ["", "not/there"])
    def test_no_repository_is_an_error_with_a_hint(self, tmp_path: Path, place: str) -> None:
        with pytest.raises(GitError, match="there is no git repository") as caught:
            Repository.open(tmp_path / place)
        assert "git init" in (caught.value.hint or "")
        assert caught.value.where == str(tmp_path / place)

    def test_a_bare_repository_has_no_files_and_this_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(GitError, match="has no work tree"):
            Repository.open(make_server(tmp_path / "server.git"))

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
    def test_a_repository_of_somebody_else_is_explained(self, folder: Path) -> None:
        commit(folder, {"a": "1"})
        for place in (folder, folder / ".git"):
            os.chown(place, 12345, 12345)
        with pytest.raises(GitError, match="belongs to somebody else") as caught:
            Repository.open(folder)
        assert "safe.directory" in (caught.value.hint or "")

    def test_variables_of_a_surrounding_git_do_not_lead_elsewhere(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        head = commit(folder, {"a": "1"})
        other = make_repo(tmp_path / "other")
        commit(other, {"b": "1"})
        monkeypatch.setenv("GIT_DIR", str(other / ".git"))
        monkeypatch.setenv("GIT_WORK_TREE", str(other))
        monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
        monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(other / ".git/objects"))
        monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
        monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "nonsense")
        repo = Repository.open(folder)
        assert (repo.top, repo.head(), repo.tracked_files()) == (folder, Head(rev=head), ("a",))

    def test_configuration_given_in_variables_still_counts(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
        monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
        monkeypatch.setenv("GIT_CONFIG_VALUE_0", "from the environment")
        assert Repository.open(folder).run("config", "user.name").text.strip() == "from the environment"


class TestHead:
    def test_before_the_first_commit_there_is_none(self, folder: Path) -> None:
        repo = Repository.open(folder)
        assert (repo.head(), repo.tracked_files()) == (Head(rev=None, dirty=False), ())

    def test_added_files_before_the_first_commit_are_dirt(self, folder: Path) -> None:
        stage(folder, {"flake.nix": "{ }"})
        assert Repository.open(folder).head() == Head(rev=None, dirty=True)

    def test_a_clean_tree_is_clean(self, folder: Path) -> None:
        head = commit(folder, {"a": "1"})
        assert Repository.open(folder).head() == Head(rev=head, dirty=False)

    def test_files_that_git_does_not_know_are_no_dirt(self, folder: Path) -> None:
        commit(folder, {"a": "1"})
        (folder / "untracked").write_text("x")
        assert not Repository.open(folder).head().dirty

    def test_a_touched_file_with_its_old_content_is_no_dirt(self, folder: Path) -> None:
        commit(folder, {"a": "1"})
        os.utime(folder / "a", (1, 1))
        assert not Repository.open(folder).head().dirty

    @pytest.mark.parametrize("how", ["edited", "added", "intent to add", "deleted", "unindexed", "mode", "staged only"])
    def test_whatever_differs_from_the_commit_is_dirt(self, folder: Path, how: str) -> None:
        commit(folder, {"a": "1"})
        if how == "edited":
            (folder / "a").write_text("2")
        elif how == "added":
            stage(folder, {"new": "x"})
        elif how == "intent to add":
            (folder / "new").write_text("x")
            git(folder, "add", "--intent-to-add", "new")
        elif how == "deleted":
            (folder / "a").unlink()
        elif how == "unindexed":
            git(folder, "rm", "--quiet", "--cached", "a")
        elif how == "mode":
            (folder / "a").chmod(0o755)
        else:
            stage(folder, {"a": "2"})
            (folder / "a").write_text("1")
        assert Repository.open(folder).head().dirty

    def test_looking_leaves_the_index_as_it_was(self, folder: Path) -> None:
        commit(folder, {"a": "1"})
        os.utime(folder / "a", (1, 1))
        before = (folder / ".git/index").read_bytes()
        Repository.open(folder).head()
        assert (folder / ".git/index").read_bytes() == before


class TestChangedFiles:
    def test_hostile_names_arrive_as_they_are(self, folder: Path) -> None:
        base = commit(folder, {"a": "1"})
        commit(folder, dict.fromkeys(HOSTILE, "x"))
        repo = Repository.open(folder)
        assert changed(repo, base) == tuple(sorted(HOSTILE))
        assert repo.tracked_files() == tuple(sorted((*HOSTILE, "a")))

    def test_hostile_names_arrive_from_the_work_tree_too(self, folder: Path) -> None:
        base = commit(folder, dict.fromkeys(HOSTILE, "x"))
        for name in HOSTILE:
            (folder / name).write_text("y")
        repo = Repository.open(folder)
        assert changed(repo, base) == repo.uncommitted_files() == tuple(sorted(HOSTILE))

    def test_bytes_that_are_no_text_are_replaced(self, folder: Path) -> None:
        base = commit(folder, {"a": "1"})
        Path(os.fsdecode(os.fsencode(folder) + b"/bad-\xff")).write_text("x")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", "bad")
        assert changed(Repository.open(folder), base) == ("bad-\ufffd",)

    def test_a_rename_is_two_paths(self, folder: Path) -> None:
        base = commit(folder, {"old": "the same text\n" * 20})
        commit(folder, {"old": None, "new": "the same text\n" * 20})
        repo = Repository.open(folder)
        assert changed(repo, base) == ("new", "old")
        stage(folder, {"new": None, "newer": "the same text\n" * 20})
        assert changed(repo, base) == ("newer", "old")

    def test_a_change_that_was_taken_back_is_none(self, folder: Path) -> None:
        base = commit(folder, {"a": "1", "b": "1"})
        commit(folder, {"a": "2"})
        commit(folder, {"a": "1"})
        assert changed(Repository.open(folder), base) == ()

    def test_only_the_two_trees_count_not_the_way_between_them(self, folder: Path) -> None:
        start = commit(folder, {"a": "1"})
        main = commit(folder, {"main": "1"})
        git(folder, "checkout", "--quiet", "-b", "side", start)
        side = commit(folder, {"side": "1"})
        merge(folder, main, side)
        repo = Repository.open(folder)
        assert changed(repo, main) == ("side",)
        assert changed(repo, side) == ("main",)

    def test_a_moved_submodule_is_one_path(self, folder: Path) -> None:
        base = commit(folder, {"a": "1"})
        (folder / "modules/lib").mkdir(parents=True)
        git(folder, "update-index", "--add", "--cacheinfo", f"160000,{base},modules/lib")
        git(folder, "commit", "--quiet", "--message", "add a submodule")
        added = git(folder, "rev-parse", "HEAD")
        git(folder, "update-index", "--cacheinfo", f"160000,{added},modules/lib")
        git(folder, "commit", "--quiet", "--message", "move it")
        repo = Repository.open(folder)
        assert changed(repo, base) == changed(repo, added) == ("modules/lib",)

    @pytest.mark.parametrize("ignore", ["all", "dirty", None])
    def test_a_submodules_dirt_counts_whatever_its_settings_say(self, folder: Path, ignore: str | None) -> None:
        module = make_repo(folder / "lib")
        commit(module, {"x": "1"})
        git(folder, "add", "lib")
        base = commit(folder, {"a": "1"})
        if ignore is not None:
            git(folder, "config", "diff.ignoreSubmodules", ignore)
        repo = Repository.open(folder)
        assert not repo.head().dirty
        (module / "untracked").write_text("x")
        assert not repo.head().dirty
        (module / "x").write_text("2")
        assert repo.head().dirty
        assert changed(repo, base) == ("lib",)

    @pytest.mark.parametrize("setting", ["diff.noprefix=true", "diff.relative=true", "diff.external=false"])
    def test_a_users_settings_do_not_change_the_answer(self, folder: Path, setting: str) -> None:
        base = commit(folder, {"top": "1", "sub/x": "1"})
        commit(folder, {"top": "2", "sub/x": "2"})
        name, _, value = setting.partition("=")
        git(folder, "config", name, value)
        git(folder, "config", "status.showUntrackedFiles", "all")
        git(folder, "config", "core.quotePath", "true")
        repo = Repository.open(folder / "sub")
        assert changed(repo, base) == ("sub/x", "top")

    def test_an_unknown_base_has_no_answer(self, folder: Path) -> None:
        commit(folder, {"a": "1"})
        repo = Repository.open(folder)
        assert repo.changed_files(Base(rev=None, rule="x", reason="x"), repo.head()) is None

    def test_against_the_empty_tree_every_file_is_changed(self, folder: Path) -> None:
        commit(folder, {"a": "1", "b/c": "1"})
        repo = Repository.open(folder)
        assert repo.changed_files(Base(rev=None, rule="x", reason="x", empty=True), repo.head()) == ("a", "b/c")

    def test_a_base_that_is_not_here_is_an_error_and_never_no_change(self, folder: Path) -> None:
        commit(folder, {"a": "1"})
        with pytest.raises(GitError, match="git could not answer"):
            changed(Repository.open(folder), "1" * 40)


class TestHistory:
    @pytest.fixture
    def shallow(self, folder: Path, tmp_path: Path) -> tuple[Repository, str, str]:
        """A clone of depth 1 at a merge, and the merge's parents."""
        start = commit(folder, {"a": "1"})
        main = commit(folder, {"main": "1"})
        git(folder, "checkout", "--quiet", "-b", "side", start)
        side = commit(folder, {"side": "1"})
        head = merge(folder, main, side)
        server = make_server(tmp_path / "server.git")
        push(folder, server, {"refs/heads/main": head})
        return Repository.open(clone_shallow(server, tmp_path / "clone", head, depth=1)), main, side

    def test_parents_are_known_where_they_are_not_here(self, shallow: tuple[Repository, str, str]) -> None:
        repo, main, side = shallow
        head = repo.head().rev
        assert head is not None
        assert repo.is_shallow()
        assert repo.parents(head) == (main, side)
        assert not repo.has_commit(main)
        assert repo.merge_base(head, main) is None
        assert not repo.is_ancestor(main, head)
        assert repo.resolve("HEAD^1") is None

    def test_a_message_cannot_forge_a_parent(self, folder: Path) -> None:
        first = commit(folder, {"a": "1"}, "start")
        head = commit(folder, {"a": "2"}, f"x\n\nparent {'1' * 40}\n")
        assert Repository.open(folder).parents(head) == (first,)

    @pytest.mark.parametrize("text", ["", "0" * 40, "abc", "HEAD", "--help", "-" * 40, "1" * 39 + "\n"])
    def test_what_is_no_commit_here_is_not_had(self, folder: Path, text: str) -> None:
        commit(folder, {"a": "1"})
        assert not Repository.open(folder).has_commit(text)

    def test_a_tree_is_no_commit(self, folder: Path) -> None:
        commit(folder, {"a": "1"})
        repo = Repository.open(folder)
        assert not repo.has_commit(git(folder, "rev-parse", "HEAD^{tree}"))
        assert repo.resolve("HEAD^{tree}") is None

    def test_a_repository_with_longer_ids_works_the_same(self, tmp_path: Path) -> None:
        folder = tmp_path / "sha256"
        folder.mkdir()
        git(folder, "init", "--quiet", "--object-format", "sha256", "--initial-branch", "main")
        first = commit(folder, {"a": "1"})
        head = commit(folder, {"b": "1"})
        repo = Repository.open(folder)
        assert len(head) == 64
        assert repo.head().rev == head
        assert repo.parents(head) == (first,)
        assert changed(repo, first) == ("b",)
