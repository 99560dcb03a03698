"""Random edits of a project, and whole stories of them. Pure, decided by the seed."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from tests.integration.memo.flakes import (
    CORE,
    DOCS,
    DOCS_LINK,
    FILES,
    FOLDERS,
    HOSTS,
    LINKS,
    NOISE,
    PROGRAMS,
    ROLES,
    TARGETS,
    Project,
    content,
    other_part,
    random_project,
    role,
)
from tests.integration.memo.states import File, Folder, Link, Node, fits, full_info

LIBRARIES = 3
"""How many libraries the lock file may name."""


@dataclass(frozen=True)
class Favoured:
    """What happens in a story more often than in others.

    Attributes:
        features: of outputs.
        edits: of the tree.
    """

    features: tuple[str, ...] = ()
    edits: tuple[str, ...] = ()


NOTHING = Favoured()


class Story:
    """A project and what becomes of it.

    Args:
        seed: decides everything.
        favoured: see there.
        relative_inputs, dirty_names: see `random_project`.

    Attributes:
        told: the states so far, and by which edit each came about.
    """

    def __init__(self, seed: int, *, relative_inputs: bool, dirty_names: bool, favoured: Favoured = NOTHING) -> None:
        self._random = Random(f"story {seed}")  # noqa: S311  # reproducible
        self._dirty_names = dirty_names
        self._count = 1
        self._moment = 1_700_000_000
        self._favoured = favoured
        first = random_project(
            self._random, relative_inputs=relative_inputs, dirty_names=dirty_names, favoured=favoured.features
        )
        self.told: list[tuple[str, Project]] = [("begin", first)]

    def go_on(self, edits: int) -> None:
        """So many edits more."""
        for _ in range(edits):
            name, project = self._next()
            self.told.append((name, project if name == "back" else self._commit(project)))

    def _next(self) -> tuple[str, Project]:
        now = self.told[-1][1]
        weights = [60 if name in self._favoured.edits else weight for name, (weight, _) in EDITS.items()]
        while True:
            name = self._random.choices(list(EDITS), weights)[0]
            after = EDITS[name][1](self, now)
            if after is not None and fits(after.nodes):
                return name, after

    def _commit(self, project: Project) -> Project:
        """With the metadata of a commit, mostly."""
        draw = self._random.random()
        if draw < 0.15:
            return project  # as in a work tree that had changes before
        self._count += 1
        self._moment += self._random.choice((60, 3_600, 86_400))
        rev = None if draw < 0.3 else f"{self._random.getrandbits(160):040x}"
        return replace(project, info=full_info(rev, self._count, self._moment, dirty_names=self._dirty_names))

    def _place(self, project: Project, *paths: str) -> str:
        path = self._random.choice(paths)
        return path if path in DOCS else posixpath.join(project.folder, path)

    def _spared(self, project: Project, path: str) -> bool:
        core = posixpath.relpath(path, project.folder or ".") in (*CORE, "data", "data/deep", "roles", "hosts")
        return core and self._random.random() < 0.8

    def _with(self, project: Project, path: str, node: Node | None) -> Project:
        nodes = {name: old for name, old in project.nodes.items() if name != path}
        return replace(project, nodes=nodes if node is None else nodes | {path: node})

    def _content(self, project: Project, path: str) -> str:
        inside = posixpath.relpath(path, project.folder or ".")
        if inside in ROLES:
            relative = project.relative is not None
            return role(self._random, project.folder, ROLES.index(inside), relative=relative).text
        if inside == "flag.nix":
            return self._random.choice(("true", "false"))
        return content(self._random)

    def modify(self, project: Project) -> Project | None:
        """Another content of some file."""
        path = self._place(project, *FILES, *FILES, *HOSTS, *PROGRAMS, *ROLES, *NOISE, *DOCS, "flag.nix")
        old = project.nodes.get(path)
        if not isinstance(old, File):
            return None
        return self._with(project, path, replace(old, text=self._content(project, path)))

    def add(self, project: Project) -> Project | None:
        """A file, link or folder that was not there."""
        new = ("data/new", "data/never", "hosts/h4", "other/new", "roles/new.nix", "data/deep/z/w")
        path = self._place(project, *FILES, *HOSTS, *PROGRAMS, *LINKS, *NOISE, *new, "empty")
        if path in project.nodes:
            return None
        draw = self._random.random()
        if posixpath.basename(path) == "empty":
            return self._with(project, path, Folder())
        if draw < 0.15:
            return self._with(project, path, Link(self._random.choice(("a.txt", "../data/a.txt", "nowhere"))))
        return self._with(project, path, File(self._content(project, path), program=draw > 0.9))

    def delete(self, project: Project) -> Project | None:
        """One path less, seldom a whole folder."""
        if self._random.random() < 0.15:
            folder = self._place(project, "data/deep", "other", "hosts", "bin")
            if self._spared(project, folder):
                return None
            nodes = {path: node for path, node in project.nodes.items() if not path.startswith(f"{folder}/")}
            return replace(project, nodes=nodes) if len(nodes) < len(project.nodes) else None
        path = self._place(project, *FILES, *HOSTS, *PROGRAMS, *LINKS, *NOISE, "empty")
        return self._with(project, path, None) if path in project.nodes and not self._spared(project, path) else None

    def rename(self, project: Project) -> Project | None:
        """A path gets another name."""
        old = self._place(project, *FILES, *HOSTS, *NOISE, *LINKS)
        new = self._place(project, *FILES, *HOSTS, *NOISE, "data/renamed", "hosts/renamed")
        if old not in project.nodes or new in project.nodes or self._spared(project, old):
            return None
        return self._with(self._with(project, old, None), new, project.nodes[old])

    def heal(self, project: Project) -> Project | None:
        """What was at one path in the beginning is there again, so that not all outputs fail in the end."""
        first = self.told[0][1].nodes
        lost = [path for path in first if type(project.nodes.get(path)) is not type(first[path])]
        if not lost:
            return None
        path = self._random.choice(lost)
        nodes = {name: node for name, node in project.nodes.items() if not name.startswith(f"{path}/")}
        above = [name for name in nodes if path.startswith(f"{name}/") and not isinstance(nodes[name], Folder)]
        return replace(project, nodes={name: nodes[name] for name in nodes if name not in above} | {path: first[path]})

    def swap(self, project: Project) -> Project | None:
        """Two files change places, so that the set of paths stays as it is."""
        one, two = self._place(project, *FILES), self._place(project, *FILES, *PROGRAMS)
        if one == two or one not in project.nodes or two not in project.nodes:
            return None
        return replace(project, nodes={**project.nodes, one: project.nodes[two], two: project.nodes[one]})

    def chmod(self, project: Project) -> Project | None:
        """A file becomes a program, or none any more."""
        path = self._place(project, *PROGRAMS, *PROGRAMS, *FILES, *HOSTS)
        old = project.nodes.get(path)
        return self._with(project, path, replace(old, program=not old.program)) if isinstance(old, File) else None

    def retarget(self, project: Project) -> Project | None:
        """A link points elsewhere."""
        path = self._place(project, *LINKS)
        if not isinstance(project.nodes.get(path), Link):
            return None
        target = posixpath.join(project.folder, self._random.choice(TARGETS))
        return self._with(project, path, Link(posixpath.relpath(target, posixpath.dirname(path) or ".")))

    def retype(self, project: Project) -> Project | None:
        """A file becomes a link or a folder, or the other way round."""
        path = self._place(project, *FILES, *HOSTS, *LINKS, *FOLDERS)
        below = [name for name in project.nodes if name.startswith(f"{path}/")]
        nodes: dict[str, Node] = {name: node for name, node in project.nodes.items() if name not in below}
        if self._spared(project, path):
            return None
        if path in nodes or below:
            new = self._random.choice((File(content(self._random)), Link("a.txt"), Link("../data/c.txt"), Folder()))
            return None if new == nodes.get(path) else replace(project, nodes=nodes | {path: new})
        return None

    def document(self, project: Project) -> Project | None:
        """Something changes in what is declared irrelevant: any edit."""
        path = self._random.choice((*DOCS, DOCS_LINK, "docs/new.md", "docs/guide/new.md", "docs/a/b.md"))
        draw = self._random.random()
        if draw < 0.3:
            path = DOCS_LINK
        if path == DOCS_LINK and draw < 0.8:
            return self._with(project, path, Link(self._random.choice(("b.md", "c.md"))))
        if path in project.nodes and draw < 0.4:
            return self._with(project, path, None)
        return self._with(project, path, File(content(self._random), program=draw > 0.9))

    def touch(self, project: Project) -> Project:
        """Nothing but the metadata."""
        return project

    def lock(self, project: Project) -> Project:
        """The lock file names another library."""
        return replace(project, library=(project.library + self._random.randrange(1, LIBRARIES)) % LIBRARIES)

    def flake(self, project: Project) -> Project:
        """`flake.nix` itself."""
        if self._random.random() < 0.3:
            return replace(project, comment=self._random.randrange(4))
        return other_part(project, self._random, self._favoured.features)

    def back(self, _: Project) -> Project:
        """An earlier commit again."""
        return self._random.choice(self.told[-12:])[1]

    def revert(self, project: Project) -> Project:
        """An earlier tree, by a new commit."""
        return replace(self._random.choice(self.told[-12:])[1], info=project.info)

    def merge(self, project: Project) -> Project | None:
        """Of this tree and an earlier one: each path from one of them."""
        other = self._random.choice(self.told[-12:])[1]
        nodes = {}
        for path in sorted(project.nodes.keys() | other.nodes.keys()):
            node = self._random.choice((project, other)).nodes.get(path)
            if node is not None:
                nodes[path] = node
        return replace(project, nodes=nodes, parts=self._random.choice((project, other)).parts)


EDITS: dict[str, tuple[int, Callable[[Story, Project], Project | None]]] = {
    "modify": (40, Story.modify),
    "add": (5, Story.add),
    "delete": (4, Story.delete),
    "rename": (3, Story.rename),
    "heal": (8, Story.heal),
    "swap": (3, Story.swap),
    "chmod": (6, Story.chmod),
    "retarget": (4, Story.retarget),
    "retype": (2, Story.retype),
    "document": (7, Story.document),
    "touch": (8, Story.touch),
    "lock": (4, Story.lock),
    "flake": (4, Story.flake),
    "back": (3, Story.back),
    "revert": (4, Story.revert),
    "merge": (4, Story.merge),
}
"""Name → how often, and what it does; null where there is nothing to do it to."""


def story(
    seed: int, edits: int, *, relative_inputs: bool, dirty_names: bool, favoured: Favoured = NOTHING
) -> list[tuple[str, Project]]:
    """A project and `edits` edits of it, each with the edit's name."""
    told = Story(seed, relative_inputs=relative_inputs, dirty_names=dirty_names, favoured=favoured)
    told.go_on(edits)
    return told.told
