"""What a store knows of a path, in one form for all versions of Nix. Pure."""

from __future__ import annotations

import base64
import binascii
import graphlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from pipelinegen.errors import ToolError
from pipelinegen.values import Value

BASE32 = "0123456789abcdfghijklmnpqrsvwxyz"
"""Digits of Nix's own base 32, which has no e, o, t and u (Nix's manual, "Nix32")."""

_DIGITS = {digit: value for value, digit in enumerate(BASE32)}
_HASH_BYTES = {"blake3": 32, "md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}
_PATH_HASH_BYTES = 20
_FIXED = {"flat": "", "nar": "r:", "git": "git:"}


class PathInfo(Value):
    """What a store knows of one path.

    Attributes:
        path: full store path.
        nar_hash: hash of its archive, `sha256:` and 64 hexadecimal digits.
        nar_size: bytes of its archive.
        references: full paths, sorted, itself included where it refers to itself: exactly Nix's list.
        deriver: full path of the derivation that made it.
        signatures: `keyname:base64`, sorted.
        ca: how its content names it, as narinfo files say it, such as `fixed:r:sha256:…` or `text:sha256:…`.
    """

    path: str
    nar_hash: str
    nar_size: int
    references: tuple[str, ...] = ()
    deriver: str | None = None
    signatures: tuple[str, ...] = ()
    ca: str | None = None

    @property
    def others(self) -> tuple[str, ...]:
        """What it refers to besides itself."""
        return tuple(reference for reference in self.references if reference != self.path)


def parse(text: str | bytes) -> dict[str, PathInfo | None]:
    """What `nix path-info --json` printed: full store path → what is known of it, null where it is absent.

    Up to 2.18 it prints a list of records, with `valid: false` for what is absent; since then an object by full
    path with null for what is absent; in format 2 (from 2.33 on, when asked for) that is below `info`, with base
    names instead of paths.

    Raises:
        ToolError: it is none of that.
    """
    try:
        answer = json.loads(text)
        if isinstance(answer, list):
            found = {record["path"]: record if record.get("valid", True) else None for record in answer}
            return {path: record and _parse_record(path, record, "") for path, record in found.items()}
        folder = ""
        if isinstance(answer.get("info"), dict):
            folder = answer["storeDir"].rstrip("/") + "/"
            answer = answer["info"]
        return {
            folder + name: None if record is None else _parse_record(folder + name, record, folder)
            for name, record in answer.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ToolError(
            "nix path-info does not answer as expected",
            why=f"{type(error).__name__}: {error}"[:200],
            hint="this version of Nix may be newer than pipelinegen knows",
        ) from error


def _parse_record(path: str, record: Mapping[str, Any], folder: str) -> PathInfo:
    deriver = record.get("deriver")
    return PathInfo(
        path=path,
        nar_hash=sha256(record["narHash"]),
        nar_size=record["narSize"],
        references=tuple(sorted(folder + reference for reference in record["references"])),
        deriver=folder + deriver if deriver else None,
        signatures=tuple(sorted(record.get("signatures") or ())),
        ca=_content_address(record.get("ca") or None),
    )


def _content_address(ca: str | Mapping[str, Any] | None) -> str | None:
    if ca is None or isinstance(ca, str):
        return ca
    algorithm, digest = _hash(ca["hash"])
    method = "text" if ca["method"] == "text" else f"fixed:{_FIXED[ca['method']]}".rstrip(":")
    return f"{method}:{algorithm}:{to_base32(digest)}"


def sha256(written: str | Mapping[str, Any]) -> str:
    """A SHA-256 in any form of Nix's (SRI, base 16, base 32, base 64, an object) as `sha256:` and base 16.

    Raises:
        ValueError: it is none of these, or another kind of hash.
    """
    algorithm, digest = _hash(written)
    if algorithm != "sha256":
        raise ValueError(f"{algorithm} instead of sha256")
    return f"sha256:{digest.hex()}"


def _hash(written: str | Mapping[str, Any]) -> tuple[str, bytes]:
    """The algorithm and the digest."""
    if isinstance(written, str):
        separator = ":" if ":" in written else "-"
        algorithm, _, text = written.partition(separator)
    else:
        algorithm, text = written["algorithm"], written["hash"]
    size = _HASH_BYTES[algorithm]
    # Each form has a length of its own.
    if len(text) == 2 * size:
        digest = bytes.fromhex(text)
    elif len(text) == (8 * size + 4) // 5:
        digest = from_base32(text, size)
    else:
        try:
            digest = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError(f"no hash: {written}") from error
    if len(digest) != size:
        raise ValueError(f"{len(digest)} bytes are no {algorithm}")
    return algorithm, digest


def source_path(nar_hash: str, store: str) -> str:
    """Where the store has a fetched source tree: by the rule for content-addressed paths of Nix's manual.

    Args:
        nar_hash: of the tree, in any form.
        store: its folder, `/nix/store`.

    Raises:
        ValueError: `nar_hash` is none, or another kind of hash.
    """
    digest = hashlib.sha256(f"source:{sha256(nar_hash)}:{store}:source".encode()).digest()
    folded = bytearray(_PATH_HASH_BYTES)
    for number, byte in enumerate(digest):
        folded[number % _PATH_HASH_BYTES] ^= byte
    return f"{store}/{to_base32(bytes(folded))}-source"


def from_base32(text: str, size: int) -> bytes:
    """Read Nix's base 32.

    Raises:
        ValueError: a digit is none, or there are more than `size` bytes in it.
    """
    number = 0
    for digit in text:
        if digit not in _DIGITS:
            raise ValueError(f"no digit of Nix's base 32: {digit}")
        number = number << 5 | _DIGITS[digit]
    if number >> 8 * size:
        raise ValueError(f"more than {size} bytes")
    return number.to_bytes(size, "little")


def to_base32(data: bytes) -> str:
    """Bytes in Nix's base 32: the last digit holds the lowest bits of the first byte."""
    number = int.from_bytes(data, "little")
    return "".join(BASE32[number >> 5 * place & 31] for place in reversed(range((8 * len(data) + 4) // 5)))


def references_first(infos: Iterable[PathInfo]) -> list[PathInfo]:
    """The same, each after everything among them that it refers to; the same order for the same infos."""
    by_path = {info.path: info for info in sorted(infos, key=lambda info: info.path)}
    order = graphlib.TopologicalSorter(
        {path: [other for other in info.others if other in by_path] for path, info in by_path.items()}
    )
    return [by_path[path] for path in order.static_order()]
