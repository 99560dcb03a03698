"""A story told in a real git repository: commits, branches, merges, a submodule, changes without a commit."""

from __future__ import annotations

import json
import os
import posixpath
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

from tests.gitrepo import commit, git, make_repo
from tests.integration.memo.edits import LIBRARIES, Story
from tests.integration.memo.flakes import Project
from tests.integration.memo.states import File, Folder, Node, State, Stored, locks, store

_SUBMODULE = "mod"


class Repository:
    """A repository with a flake, and random things that happen to it.

    Args:
        seed: decides everything.
        place: an empty folder for it and for what it uses.
        relative_inputs: whether this Nix has them.

    Attributes:
        folder: of the work tree.
        reference: of the flake.
        happened: the last thing that did.
    """

    def __init__(self, seed: int, place: Path, *, relative_inputs: bool) -> None:
        self._random = Random(f"repository {seed}")  # noqa: S311  # reproducible
        self._story = Story(seed, relative_inputs=relative_inputs, dirty_names=relative_inputs)
        self._has_submodule = self._random.random() < 0.4
        # Nix has no relative inputs in submodules' flakes before 2.27; nothing depends on both here.
        self._library = place / "library"
        libraries = [State({"value.nix": File(f'"library {number}"')}) for number in range(LIBRARIES)]
        self._libraries: list[Stored] = store(libraries, place / "libraries")
        self._module = make_repo(place / "module")
        commit(self._module, {"content": "first"})
        self.folder = make_repo(place / "repository")
        if self._has_submodule:
            self._submodule("add", str(self._module), _SUBMODULE)
        project = self._story.told[0][1]
        query = {"dir": project.folder, "submodules": "1" if self._has_submodule else ""}
        told = "&".join(f"{name}={value}" for name, value in query.items() if value)
        self.reference = f"git+file://{self.folder}" + (f"?{told}" if told else "")
        self._write(project)
        self._commits = [self._commit()]
        self.happened = "begin"

    def go_on(self) -> None:
        """Something happens."""
        deeds: list[tuple[int, Callable[[], None]]] = [
            (8, self._edit),
            (4, self._leave_changes),
            (2, self._commit_nothing),
            (2, self._go_back),
            (2, self._revert),
            (2, self._merge),
            (2 if self._has_submodule else 0, self._bump),
        ]
        deed = self._random.choices([one for _, one in deeds], [weight for weight, _ in deeds])[0]
        deed()
        self.happened = deed.__name__.strip("_")

    def _edit(self) -> None:
        self._next()
        self._commits.append(self._commit())

    def _leave_changes(self) -> None:
        self._next()
        git(self.folder, "add", "--all")

    def _commit_nothing(self) -> None:
        self._clean()
        self._commits.append(self._commit())

    def _go_back(self) -> None:
        self._clean()
        git(self.folder, "checkout", "--quiet", "--force", "-B", "main", self._random.choice(self._commits))
        self._clean()

    def _revert(self) -> None:
        self._clean()
        git(self.folder, "read-tree", "--reset", "-u", self._random.choice(self._commits))
        self._clean_submodule()
        self._commits.append(self._commit())

    def _merge(self) -> None:
        self._clean()
        other = self._random.choice(self._commits)
        tree = git(self.folder, "rev-parse", f"{self._random.choice((other, 'HEAD'))}^{{tree}}")
        parents = ("-p", "HEAD", "-p", other)
        merged = git(self.folder, "commit-tree", *parents, "-m", "merge", tree, second=60 * len(self._commits))
        git(self.folder, "checkout", "--quiet", "--force", "-B", "main", merged)
        self._clean()
        self._commits.append(merged)

    def _bump(self) -> None:
        commit(self._module, {"content": self._random.choice(("first", "second")), "more": self._random.choice("ab")})
        git(self.folder / _SUBMODULE, "fetch", "--quiet", "origin")
        git(self.folder / _SUBMODULE, "checkout", "--quiet", "--force", "FETCH_HEAD")
        self._commits.append(self._commit())

    def _next(self) -> None:
        self._story.go_on(1)
        self._write(self._story.told[-1][1])

    def _clean(self) -> None:
        git(self.folder, "reset", "--quiet", "--hard")
        git(self.folder, "clean", "--quiet", "--force", "-d")
        self._clean_submodule()

    def _clean_submodule(self) -> None:
        if self._has_submodule:
            self._submodule("update", "--init", "--force")

    def _submodule(self, *arguments: str) -> None:
        git(self.folder, "-c", "protocol.file.allow=always", "submodule", "--quiet", *arguments)

    def _commit(self) -> str:
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", "--allow-empty", "-m", "edit", second=60 * len(self._story.told))
        return git(self.folder, "rev-parse", "HEAD")

    def _write(self, project: Project) -> None:
        for entry in self.folder.iterdir():
            if entry.name in {".git", ".gitmodules", _SUBMODULE}:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        state = self._with_submodule(project).state()
        flake = posixpath.join(project.folder, "flake.nix")
        text = state.nodes[flake]
        assert isinstance(text, File)
        declared = f'{{\n  inputs.library = {{ url = "path:{self._library}"; flake = false; }};'
        lock = locks(state, self._libraries)
        nodes = lock["nodes"]
        assert isinstance(nodes, dict)
        nodes["library"]["original"] = {"type": "path", "path": str(self._library)}
        own = {
            flake: File(text.text.replace("{", declared, 1)),
            posixpath.join(project.folder, "flake.lock"): File(json.dumps(lock, indent=2)),
        }
        # git has no empty folders, and says that it has nothing else that it does not know.
        kept: dict[str, Node] = {path: node for path, node in state.nodes.items() if not isinstance(node, Folder)}
        scratch = self.folder.parent / "written"
        replace(state, nodes=kept | own).write(scratch)
        for entry in scratch.iterdir():
            os.replace(entry, self.folder / entry.name)  # noqa: PTH105  # names are not always text
        scratch.rmdir()

    def _with_submodule(self, project: Project) -> Project:
        if not self._has_submodule:
            return project
        inside = "./" + posixpath.relpath(_SUBMODULE, project.folder or ".")
        uses = (f"builtins.readFile {inside}/content", f"builtins.toJSON (builtins.readDir {inside})")
        parts = [f'drv "module" {{ used = {use}; }}' for use in uses]
        return replace(project, parts=(*project.parts, *parts))
