"""Random flakes: outputs that depend on their source tree in every way that Nix has. Pure, decided by the seed."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random

from pipelinegen.attrpath import nix_string
from tests.integration.memo.states import File, Folder, Info, Link, Node, State, full_info

WORDS = ("one", "two", "three", "four", "halt", "broken")
"""Contents of files; few, so that what was once comes again. Outputs treat the last two as a reason to fail."""

IGNORED = ("docs/",)
"""Patterns for `ignore_paths`. No output asks for the mere existence of what is there."""

FILES = ("data/a.txt", "data/b.txt", "data/c.txt", "data/deep/x.txt", "data/deep/y.txt", "data/odd na'me", "data/ü.txt")
CORE = ("data/a.txt", "data/b.txt", "data/deep/x.txt")
"""What is seldom deleted, since most outputs would only fail then."""
_BY_LINK = ("link", "data/link", "folder-link/a.txt", "bin/tool")

FOLDERS = ("data", "data/deep", "hosts", "roles", "bin")
HOSTS = ("hosts/h0", "hosts/h1", "hosts/h2", "hosts/h3")
ROLES = ("roles/r0.nix", "roles/r1.nix", "roles/r2.nix", "roles/r3.nix")
PROGRAMS = ("bin/tool", "bin/other")
LINKS = ("link", "data/link", "data/deep/up", "folder-link")
DOCS = ("docs/a.md", "docs/guide/b.md", "docs/guide/c.md")
DOCS_LINK = "docs/guide/link.md"
NOISE = ("README", "data/unused.txt", "other/left.txt", "other/byte\udcff.txt")
MAYBE = (
    *FILES,
    *HOSTS,
    *PROGRAMS,
    "data/never",
    "data/deep/z/w",
    "link",
    "folder-link/a.txt",
    "hosts",
    "other",
    "empty",
)
"""What is asked for whether it exists or not."""

TARGETS = ("data/a.txt", "data/c.txt", "data/deep/x.txt", "data", "data/deep", "roles/r0.nix", "link", "data/nothing")

GROUPS = ("packages", "checks", "homes")


@dataclass(frozen=True)
class Project:
    """A flake and its tree.

    Attributes:
        nodes: all but `flake.nix`.
        parts: Nix expressions of the outputs; each may use `all.o0` and so on of those before it.
        hosts: whether packages are made of the names in a folder.
        library, info, folder, relative: as in `State`.
        comment: at the end of `flake.nix`.
    """

    nodes: Mapping[str, Node]
    parts: tuple[str, ...]
    hosts: bool
    info: Info
    library: int = 0
    folder: str = ""
    relative: Mapping[str, str] | None = None
    comment: int = 0

    def state(self) -> State:
        """As a tree."""
        flake = {posixpath.join(self.folder, "flake.nix"): File(self._flake())}
        return State({**self.nodes, **flake}, self.info, self.folder, self.library, self.relative or {})

    def _flake(self) -> str:
        names = [f"o{number}" for number in range(len(self.parts))]
        by_group = {group: names[number :: len(GROUPS)] for number, group in enumerate(GROUPS)}
        homes = " ".join(f"{name}.activationPackage = all.{name};" for name in by_group["homes"])
        hosts = "builtins.mapAttrs host (builtins.readDir ./hosts)" if self.hosts else "{ }"
        parts = "\n".join(f"    {name} = {part};" for name, part in zip(names, self.parts, strict=True))
        inputs = "".join(
            f'  inputs.{name} = {{ url = "path:./{folder}"; flake = false; }};\n'
            for name, folder in (self.relative or {}).items()
        )
        return f"""{{
{inputs}  outputs = inputs@{{ self, ... }}: let
    drv = name: more: derivation ({{
      inherit name; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo > $out" ];
    }} // removeAttrs more [ "meta" ]) // {{ meta = more.meta or {{ }}; }};
    built = source: derivation {{
      name = "built"; system = "x86_64-linux"; builder = "/bin/sh"; inherit source;
      args = [ "-c" "read -r line < $source; echo \\"$line\\" > $out" ];
    }};
    host = name: type: drv "host" {{
      text = if type == "directory" then name else builtins.readFile (./hosts + "/${{name}}");
    }};
    all = {{
{parts}
    }};
  in {{
    packages.x86_64-linux = {{ inherit (all) {" ".join(by_group["packages"])}; }} // {hosts};
    checks.x86_64-linux = {{ inherit (all) {" ".join(by_group["checks"])}; }};
    legacyPackages.x86_64-linux.homeConfigurations = {{ {homes} }};
    lib.value = import ./roles/r0.nix;
  }};
}}
# {self.comment}
"""


@dataclass(frozen=True)
class Context:
    """What features draw from.

    Attributes:
        folder: of `flake.nix`.
        place: folder of the file that is written.
        relative: whether there is an input inside the tree.
        number: of the output (or role); it may use those before it.
        favoured: features that are drawn more often.
    """

    random: Random
    folder: str
    place: str
    relative: bool
    number: int
    favoured: tuple[str, ...] = ()

    def path(self, path: str) -> str:
        """A path of the flake's folder, as Nix reads it at `place`."""
        relative = posixpath.relpath(posixpath.join(self.folder, path), self.place or ".")
        if re.fullmatch(r"[A-Za-z0-9_./-]+", relative):
            return f"./{relative}"
        return f"(./. + {nix_string('/' + relative)})"

    def one(self, *names: str) -> str:
        """One of these paths."""
        return self.path(self.random.choice(names))

    @property
    def file(self) -> str:
        """A file, perhaps by a link; mostly one that is always there."""
        return self.one(*CORE * 4, *FILES, *_BY_LINK)

    @property
    def copied(self) -> str:
        """A file that can be copied to the store, which takes not all names."""
        return self.one(*CORE * 4, "data/c.txt", "data/deep/y.txt", *_BY_LINK)

    @property
    def docs(self) -> str:
        """A file that is declared irrelevant, from the top of the tree."""
        return "./" + posixpath.relpath(self.random.choice(DOCS), self.place or ".")

    @property
    def tree(self) -> str:
        """`self`, where the flake's folder is in every version of Nix."""
        return f'(self.sourceInfo.outPath + "/{self.folder}")' if self.folder else "self"


Feature = Callable[[Context], str]


def _guarded(one: Context) -> str:
    path = one.one(*MAYBE[:7])
    return f'if builtins.pathExists {path} then builtins.readFile {path} else "none"'


def _filtered(one: Context) -> str:
    wanted = one.random.choice(("a.txt", "x.txt", "tool", "h1"))
    return (
        f'builtins.path {{ path = {one.one("data", "hosts", "bin", ".")}; name = "picked"; filter = path: type: '
        f'type == "directory" || baseNameOf path == "{wanted}"; }}'
    )


READS: dict[str, Feature] = {
    "read": lambda one: f"builtins.readFile {one.file}",
    "import": lambda one: f"import {one.one(*ROLES)}",
    "scoped-import": lambda one: f"builtins.scopedImport {{ }} {one.one(*ROLES)}",
    "list": lambda one: f"builtins.toJSON (builtins.readDir {one.one(*FOLDERS, '.', 'folder-link')})",
    "list-names": lambda one: f"builtins.attrNames (builtins.readDir {one.one(*FOLDERS)})",
    "copy-file": lambda one: f'"${{{one.copied}}}"',
    "copy-program": lambda one: f'"${{{one.one(*PROGRAMS)}}}"',
    "copy-link": lambda one: f'"${{{one.one(*LINKS)}}}"',
    "copy-folder": lambda one: f'"${{{one.one(*FOLDERS, "other")}}}"',
    "read-in-copy": lambda one: f'builtins.readFile "${{{one.path("data")}}}/a.txt"',
    "filter": _filtered,
    "filter-source": lambda one: (
        f'builtins.filterSource (path: type: type != "symlink" && baseNameOf path != "b.txt") {one.one("data", "bin")}'
    ),
    "hash-file": lambda one: f'builtins.hashFile "sha256" {one.file}',
    "exists": lambda one: f'if builtins.pathExists {one.one(*MAYBE)} then "yes" else "no"',
    "exists-read": _guarded,
    "type": lambda one: f'(builtins.readFileType or (_: "unknown")) {one.one(*FILES, *LINKS, "hosts")}',
    "self-import": lambda one: f'import ({one.tree} + "/{one.random.choice(ROLES)}")',
    "self-read": lambda one: f'builtins.readFile "${{{one.tree}}}/{one.random.choice((*CORE, "data/c.txt"))}"',
    "self-list": lambda one: f'builtins.toJSON (builtins.readDir ({one.tree} + "/data"))',
    "throw": lambda one: f'if builtins.readFile {one.one(*CORE)} == "halt" then throw "told so" else "fine"',
    "library": lambda _: 'import (inputs.library + "/value.nix")',
    "library-place": lambda _: '"${inputs.library}"',
    "lib": lambda _: "self.lib.value",
    "docs-list": lambda one: f"builtins.toJSON (builtins.readDir {posixpath.dirname(one.docs)})",
    "docs-read": lambda one: f"builtins.readFile {one.docs}",
    "docs-copy": lambda one: f'"${{{posixpath.dirname(one.docs)}}}"',
    "kept-text": lambda one: f'builtins.toFile "kept" (builtins.readFile {one.file})',
}
"""What reads files and folders: this is what a memory can know."""

IDENTITY: dict[str, Feature] = {
    "self": lambda _: '"${self}"',
    "self-place": lambda _: "self.outPath",
    "self-hash": lambda _: 'builtins.hashString "sha256" "${self}"',
    "place-hash": lambda _: 'builtins.hashString "sha256" (toString ./.)',
    "place": lambda one: f"builtins.unsafeDiscardStringContext (toString {one.file})",
    "position": lambda _: "__curPos.file",
    "position-of-import": lambda one: f'(builtins.unsafeGetAttrPos "a" {{ a = import {one.one(*ROLES)}; }}).file',
    "copy-top": lambda _: '"${./.}"',
}
"""What depends on where the tree is in the store, which everything in it decides."""

METADATA: dict[str, Feature] = {
    "rev": lambda _: 'self.rev or self.dirtyRev or "none"',
    "rev-or-fail": lambda _: "self.shortRev",
    "has-rev": lambda _: 'if self ? rev then "clean" else "changed"',
    "has-rev-inside": lambda _: 'if self.sourceInfo ? revCount then "clean" else "changed"',
    "rev-or-read": lambda one: f'if self ? rev then "one" else builtins.readFile {one.one(*CORE)}',
    "count": lambda _: "toString (self.revCount or 0)",
    "moment": lambda _: "toString (self.lastModified or 0)",
    "day": lambda _: 'builtins.substring 0 8 (self.lastModifiedDate or "19700101000000")',
    "narHash": lambda _: "self.narHash",
    "all": lambda _: 'builtins.toJSON (removeAttrs self.sourceInfo [ "outPath" ])',
    "names": lambda _: "builtins.attrNames self.sourceInfo",
    "own-names": lambda _: "builtins.attrNames self",
    "input-self": lambda _: "toString (inputs.self.lastModified or 0)",
}
"""What Nix says of the source."""

BUILT: dict[str, Feature] = {
    "built-of-self": lambda one: f'builtins.readFile (built ({one.tree} + "/{one.random.choice(CORE)}"))',
    "built-of-file": lambda one: f'builtins.readFile (built "${{{one.one(*CORE)}}}")',
}
"""Import from derivation."""

INSIDE: dict[str, Feature] = {
    "relative": lambda one: f'builtins.readFile (inputs.inside + "/{one.random.choice(("a.txt", "deep/x.txt"))}")',
    "relative-place": lambda _: '"${inputs.inside}"',
    "relative-list": lambda _: "builtins.toJSON (builtins.readDir inputs.inside)",
    "relative-info": lambda _: "toString (inputs.inside.lastModified or 0)",
}
"""Inputs inside the tree, where Nix has them."""

FEATURES = READS | IDENTITY | METADATA | BUILT | INSIDE


def _kind(one: Context) -> str:
    if one.favoured and one.random.random() < 0.6:
        return one.random.choice(one.favoured)
    draw = one.random.random()
    if draw < 0.70:
        return one.random.choice(list(READS))
    if draw < 0.78:
        return one.random.choice(list(IDENTITY))
    if draw < 0.90:
        return one.random.choice(list(METADATA))
    if draw < 0.92:
        return one.random.choice(list(BUILT))
    return one.random.choice(list(INSIDE if one.relative else READS))


def expression(one: Context) -> str:
    """The expression of a random feature, with its name in a comment."""
    kind = _kind(one)
    return f"({FEATURES[kind](one)} /* {kind} */)"


def part(one: Context) -> str:
    """A random output: a derivation, mostly; a set of them; or one that was there already."""
    draw = one.random.random()
    before = f"all.o{one.random.randrange(one.number)}" if one.number else None
    uses = [f"u{number} = {expression(one)};" for number in range(one.random.choice((1, 1, 1, 2, 3)))]
    if before and draw < 0.08:
        uses.append(f'used = "${{{before}.drvPath or "a set"}}";')
    elif draw < 0.12:
        uses.append(f'meta.broken = builtins.readFile {one.one(*CORE)} == "broken";')
    elif draw < 0.16:
        uses.append(f"meta.timeout = builtins.stringLength (builtins.readFile {one.one(*CORE)});")
    drv = f'drv "p{one.number}" {{ {" ".join(uses)} }}'
    if GROUPS[one.number % len(GROUPS)] == "homes":
        return drv  # nothing else makes sense there
    if before and draw > 0.96:
        return before
    if draw > 0.90:
        marked = one.random.choice(("true", f"import {one.path('flag.nix')}"))
        inner = one.random.choice(
            (f"{{ inner = {drv}; }}", f"builtins.mapAttrs host (builtins.readDir {one.path('hosts')})")
        )
        return f"{{ recurseForDerivations = {marked}; }} // {inner}"
    return drv


def role(random: Random, folder: str, number: int, *, relative: bool) -> File:
    """A file that is imported, and may import others with a lower number."""
    one = Context(random, folder, posixpath.join(folder, "roles"), relative, number)
    draw = random.random()
    if number and draw < 0.35:
        return File(f"import ./r{random.randrange(number)}.nix")
    if draw < 0.55:
        return File(f'"{random.choice(WORDS)}"')
    # Files other than flake.nix see neither `self` nor `inputs`.
    free = ("read", "list", "copy-file", "copy-folder", "exists", "exists-read", "filter", "hash-file", "place-hash")
    return File(f"builtins.toString ({FEATURES[random.choice(free)](one)})")


def content(random: Random) -> str:
    """What may be in a file; seldom what makes outputs fail."""
    return random.choice((*WORDS[:4] * 3, *WORDS[4:]))


def random_project(
    random: Random, *, relative_inputs: bool, dirty_names: bool, favoured: tuple[str, ...] = ()
) -> Project:
    """The beginning of a story.

    Args:
        favoured: features that outputs have more often than others.
        relative_inputs: whether this Nix has inputs inside the tree.
        dirty_names: whether it gives changed trees a `dirtyRev`.
    """
    folder = random.choice(("", "", "", "sub"))
    relative = relative_inputs and random.random() < 0.4
    nodes: dict[str, Node] = {}

    def put(path: str, node: Node) -> None:
        nodes[posixpath.join(folder, path)] = node

    for path in FILES:
        if path in CORE or random.random() < 0.8:
            put(path, File(content(random)))
    for path in (*HOSTS[:3], *PROGRAMS):
        put(path, File(content(random), program=path in PROGRAMS and random.random() < 0.5))
    for number, path in enumerate(ROLES):
        put(path, role(random, folder, number, relative=relative))
    put("link", Link("data/a.txt"))
    put("data/link", Link("b.txt"))
    put("data/deep/up", Link(random.choice(("../c.txt", "..", "nowhere"))))
    put("folder-link", Link("data"))
    put("flag.nix", File("true"))
    for path in NOISE:
        if random.random() < 0.7:
            put(path, File(content(random)))
    nodes |= {path: File(content(random)) for path in DOCS}
    nodes[DOCS_LINK] = Link("b.md")
    if random.random() < 0.3:
        put("empty", Folder())
    count = random.randrange(4, 9)
    parts = tuple(part(Context(random, folder, folder, relative, number, favoured)) for number in range(count))
    info = full_info(f"{random.getrandbits(160):040x}", 1, 1_700_000_000, dirty_names=dirty_names)
    return Project(
        nodes,
        parts,
        hosts=random.random() < 0.4,
        info=info,
        folder=folder,
        relative={"inside": "data"} if relative else None,
    )


def other_part(project: Project, random: Random, favoured: tuple[str, ...]) -> Project:
    """With another output, or one more, or one less at the end."""
    draw = random.random()
    parts = list(project.parts)
    if draw < 0.2 and len(parts) > 4:
        parts.pop()
    else:
        number = random.randrange(len(parts)) if draw < 0.7 else len(parts)
        parts[number : number + 1] = [
            part(Context(random, project.folder, project.folder, project.relative is not None, number, favoured))
        ]
    return replace(project, parts=tuple(parts))
