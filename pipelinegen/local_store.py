"""One function per Nix command about this machine's store: closures, exports, roots, output paths.

What fetches or builds is in `nix`, what asks other stores or copies to them in `remote_store`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pipelinegen import nix, path_info, process
from pipelinegen.attrpath import nix_string
from pipelinegen.errors import StepFailedError, ToolError
from pipelinegen.path_info import PathInfo

_NAMED_OUTPUTS = (2, 13)
"""The first Nix that takes `/nix/store/….drv^out`."""


def requisites(paths: Sequence[str]) -> list[str]:
    """The closure of `paths` (which must be in the local store), references before referrers."""
    seen: dict[str, None] = {}
    for chunk in nix.argument_chunks(paths):
        for path in process.run(["nix-store", "--query", "--requisites", *chunk]).text.split():
            seen[path] = None
    return list(seen)


def closure_infos(paths: Sequence[str]) -> list[PathInfo]:
    """What this store knows of the closures of `paths`, references before referrers, always in the same order.

    The path of a derivation means the file, and its closure all that it is built from; that of what was built
    holds neither, unless it refers to it.

    Raises:
        StepFailedError: some of `paths` are not in this store.
    """
    invalid = nix.invalid_paths(paths)
    if invalid:
        raise StepFailedError(
            "some paths are not in this machine's store",
            where="\n".join(invalid[:10]),
            hint="build or fetch them first",
        )
    found: dict[str, PathInfo | None] = {}
    # Told plainly, the path of a derivation means its outputs to versions before 2.13; with this option, other
    # paths mean the derivations that they are outputs of.
    for meaning, group in (
        ((), [path for path in paths if not path.endswith(".drv")]),
        (("--derivation",), [path for path in paths if path.endswith(".drv")]),
    ):
        for chunk in nix.argument_chunks(group, limit=nix.MANY):
            command = ["nix", *nix.FEATURES, "path-info", "--json", "--recursive", *meaning, *chunk]
            found.update(path_info.parse(process.run(command).stdout))
    return path_info.references_first(info for info in found.values() if info is not None)


def export_store_paths(paths: Sequence[str], write: Callable[[bytes], None]) -> None:
    """Write `paths`, references before referrers, in `nix-store --export` format to `write`.

    A set too long for one command line is exported in parts and joined: each part ends with eight zero
    bytes that say "no more", which only the last part keeps.
    """
    end = b"\0" * 8
    for chunk in nix.argument_chunks(paths):
        held = b""

        def forward(data: bytes) -> None:
            nonlocal held
            held += data
            if len(held) > len(end):
                write(held[: -len(end)])
                held = held[-len(end) :]

        process.run(["nix-store", "--export", *chunk], on_stdout=forward)
        if held != end:
            raise ToolError("nix-store --export wrote no proper end", hint="the store may be damaged")
    write(end)


def import_store_paths(chunks: Iterable[bytes]) -> list[str]:
    """Put an export into the local store; the paths it held.

    Raises:
        CommandError: the export is damaged or incomplete.
    """
    return process.run(["nix-store", "--import"], stdin=chunks).text.split()


def add(path: Path) -> str:
    """Copy a file or folder into the store, named by its own name and its content; its store path.

    Raises:
        CommandError: Nix refuses it.
    """
    return process.run(["nix-store", "--add", str(path)]).text.strip()


def add_roots(drv_paths: Sequence[str], link: Path) -> None:
    """Keep derivations (with all they need) from the garbage collector as long as the links exist.

    `nix-store --add-root` would build them; `nix-instantiate` roots whatever an expression calls a derivation.
    """
    link.parent.mkdir(parents=True, exist_ok=True)
    for number, chunk in enumerate(nix.argument_chunks(drv_paths)):
        attributes = 'name = "x"; system = "x"; outputName = "out"; type = "derivation";'
        items = " ".join(
            f"{{ {attributes} drvPath = {nix_string(path)}; outPath = {nix_string(path)}; }}" for path in chunk
        )
        # By standard input, since the expression is larger than one argument may be.
        process.run(
            ["nix-instantiate", "--add-root", f"{link}-{number}", "--indirect", "-"], stdin=f"[ {items} ]".encode()
        )


def root_paths(paths: Sequence[str], link: Path) -> None:
    """Keep valid store paths (not derivations) from the garbage collector as long as the links exist."""
    for number, chunk in enumerate(nix.argument_chunks(paths)):
        nothing_to_fetch = nix.Substitution().options()
        process.run(
            ["nix-store", "--realise", *nothing_to_fetch, "--add-root", f"{link}-{number}", "--indirect", *chunk]
        )


def path_sizes(paths: Sequence[str]) -> dict[str, int]:
    """Store path → its own bytes, uncompressed; every path must be in the local store."""
    sizes: dict[str, int] = {}
    for chunk in nix.argument_chunks(paths):
        text = process.run(["nix-store", "--query", "--size", *chunk]).text
        sizes.update(zip(chunk, map(int, text.split()), strict=True))
    return sizes


def output_paths(drv_paths: Sequence[str], output: str) -> dict[str, str | None]:
    """Derivation path → path of its output `output`; null where it is not known before the build.

    A derivation's environment names each output's path; that of a content-addressed one is a placeholder.
    """
    found: dict[str, str | None] = {}
    for chunk in nix.argument_chunks(drv_paths):
        text = process.run(["nix-store", "--query", "--binding", output, *chunk]).text
        for drv_path, path in zip(chunk, text.splitlines(), strict=True):
            found[drv_path] = path if path.startswith(drv_path.rpartition("/")[0] + "/") else None
    return found


def copyable(installables: Sequence[str]) -> list[str]:
    """Built outputs (`….drv!out,dev`) in the words of `nix copy`, which then copies what they are outputs of, too.

    Where outputs are named by their content, nobody else can tell without that which path a derivation made.
    """
    # A derivation's path alone meant all its outputs before Nix could be told which ones; now it means the file.
    if not installables or tuple(map(int, re.findall(r"\d+", nix.version())[:2])) >= _NAMED_OUTPUTS:
        return [installable.replace("!", "^") for installable in installables]
    return [installable.partition("!")[0] for installable in installables]


def realised_outputs(installable: str) -> list[str]:
    """The output paths of a derivation (`….drv` or `….drv!out`), as far as they are known.

    Where they are named by their content, Nix knows them once they were built; asked to realise them while
    nothing may be built or fetched, it names those that are there.
    """
    drv_path, _, _ = installable.partition("!")
    known = process.run(["nix-store", "--query", "--outputs", drv_path], allowed="any")
    if known.returncode == 0:
        return known.text.split()
    nothing = ["--option", "max-jobs", "0", "--option", "builders", "", *nix.Substitution().options()]
    made = process.run(["nix-store", "--realise", *nothing, installable], allowed="any")
    return made.text.split() if made.returncode == 0 else []
