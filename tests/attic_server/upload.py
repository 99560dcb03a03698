"""PUT upload-path: the nar-info first, then who asks, then the NAR."""

from __future__ import annotations

import hashlib
import json
import lzma
from pathlib import Path
from typing import IO, Protocol

from tests.attic_server.answers import Answer, Refusal, bad_request, internal_error, json_answer
from tests.attic_server.faults import Damaged, Lose
from tests.attic_server.names import CACHE_NAME, PATH_HASH, parse_hash
from tests.attic_server.request import Context
from tests.attic_server.state import PIECE, Damage, Nar, NarInfo
from tests.attic_server.wire import BodyBroken, Head, Reader

INFO = "x-attic-nar-info"
PREAMBLE = "x-attic-nar-info-preamble-size"
IN_MEMORY = 1024 * 1024
"""Bytes of a NAR up to which it is kept in memory."""


def read_info(head: Head, body: Reader, limit: int) -> NarInfo:
    """The nar-info, from the first bytes of the body if a preamble is announced, else from the header.

    Raises:
        Refusal: 400 with what is wrong.
    """
    size_text = head.headers.get(PREAMBLE)
    if size_text is not None:
        if not size_text.isascii() or not size_text.removeprefix("+").isdigit():
            raise bad_request("X-Attic-Nar-Info-Preamble-Size must be a valid unsigned integer")
        size = int(size_text)
        if size > limit:
            raise bad_request("Upload info is too large")
        data = b""
        try:
            while len(data) < size and (piece := body.read(size - len(data))):
                data += piece
        except BodyBroken as error:
            raise bad_request("error reading a body from connection") from error
        if len(data) != size:
            raise bad_request("Upload info doesn't match specified size")
    elif INFO in head.headers:
        data = head.headers[INFO].encode("latin-1")
    else:
        raise bad_request("X-Attic-Nar-Info must be set")
    try:
        return parse_info(json.loads(data))
    except ValueError as error:
        raise bad_request(str(error)) from error


def parse_info(value: object) -> NarInfo:
    """Check every field.

    Raises:
        ValueError: with what is wrong.
    """
    if not isinstance(value, dict):
        raise ValueError("invalid type, expected struct UploadPathNarInfo")  # noqa: TRY004  # all are reported alike
    for name, kind in _FIELDS.items():
        if name not in value:
            raise ValueError(f"missing field `{name}`")
        if type(value[name]) is not kind:
            raise ValueError(f"invalid type for `{name}`")
    for name in ("system", "deriver", "ca"):
        if not isinstance(value.get(name), str | None):
            raise ValueError(f"invalid type for `{name}`")  # noqa: TRY004
    for name in ("references", "sigs"):
        if not all(isinstance(one, str) for one in value[name]):
            raise ValueError(f"invalid type for `{name}`")
    if not CACHE_NAME.fullmatch(value["cache"]):
        raise ValueError(f'Invalid cache name "{value["cache"]}"')
    if not PATH_HASH.fullmatch(value["store_path_hash"]):
        raise ValueError(f'Invalid store path hash "{value["store_path_hash"]}": Hash is of invalid format')
    if value["nar_size"] < 0:
        raise ValueError(f"invalid value: integer `{value['nar_size']}`, expected usize")
    return NarInfo(
        value["cache"],
        value["store_path_hash"],
        value["store_path"],
        tuple(value["references"]),
        parse_hash(value["nar_hash"]),
        value["nar_size"],
        value.get("deriver"),
        value.get("ca"),
        tuple(value["sigs"]),
    )


_FIELDS: dict[str, type] = {
    "cache": str,
    "store_path_hash": str,
    "store_path": str,
    "references": list,
    "sigs": list,
    "nar_hash": str,
    "nar_size": int,
}


def upload(context: Context, info: NarInfo) -> Answer:
    """Take a NAR.

    Raises:
        Refusal: not permitted, or the NAR is not what the nar-info says.
    """
    server, state = context.server, context.server.state
    cache, _ = context.cache_for(info.cache, "w")
    by = context.token.sub if context.token else None
    known = state.nars.get(info.nar_hash)
    if known is not None and known.damage is not Damage.INCOMPLETE:
        if server.require_proof:
            _prove(context.body, info, known)
        state.store(cache, info, None, by)
        kind, size, fraction = "Deduplicated", None, None
    else:
        chunked = info.nar_size >= server.chunk_threshold > 0
        nar = _receive(context, info, chunked=chunked)
        state.store(cache, info, nar, by)
        kind, size, fraction = "Uploaded", nar.stored_size, 0.0 if chunked else None
    action = context.record.fault.action if context.record.fault else None
    if isinstance(action, Damaged):
        server.damage(info.store_path_hash, action.damage)
    elif isinstance(action, Lose):
        server.forget(info.store_path_hash, cache=info.cache)
    server.count_upload(info)
    size_field = {} if size is None else {"file_size": size}
    return json_answer({"kind": kind, **size_field, "frac_deduplicated": fraction})


def _prove(body: Reader, info: NarInfo, known: Nar) -> None:
    # The real server hashes all that comes here, so that surplus bytes are an error only of known NARs.
    digest, size = hashlib.sha256(), 0
    try:
        while piece := body.read(PIECE):
            digest.update(piece)
            size += len(piece)
    except BodyBroken as error:
        raise bad_request("error reading a body from connection") from error
    if digest.hexdigest() != known.hash or size != info.nar_size or size != known.size:
        raise bad_request("Bad NAR Hash or Size")


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


class _Sink:
    """Keeps what is stored: in memory, from a megabyte on in a file."""

    def __init__(self, context: Context, *, large: bool) -> None:
        self.path: Path | None = context.server.state.new_file() if large else None
        self._file: IO[bytes] | None = self.path.open("wb") if self.path else None
        self._pieces: list[bytes] = []
        self.size = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if self._file:
            self._file.write(data)
        elif data:
            self._pieces.append(data)

    def close(self) -> bytes | Path:
        if self._file and self.path:
            self._file.close()
            return self.path
        return b"".join(self._pieces)

    def discard(self) -> None:
        if self._file and self.path:
            self._file.close()
            self.path.unlink()


def _receive(context: Context, info: NarInfo, *, chunked: bool) -> Nar:
    sink = _Sink(context, large=info.nar_size > IN_MEMORY)
    compression = context.server.compression
    compressor: _Compressor = lzma.LZMACompressor(preset=0) if compression == "xz" else _Plain()
    digest, left = hashlib.sha256(), info.nar_size
    complete = False
    try:
        while left and (piece := context.body.read(min(left, PIECE))):
            digest.update(piece)
            sink.write(compressor.compress(piece))
            left -= len(piece)
        sink.write(compressor.flush())
        complete = not left and digest.hexdigest() == info.nar_hash
    except BodyBroken as error:
        raise _broken(chunked=chunked) from error
    finally:
        if not complete:
            sink.discard()
    if not complete:
        raise bad_request("Bad NAR Hash or Size" if chunked else "Bad chunk hash or size")
    return Nar(info.nar_hash, info.nar_size, sink.close(), sink.size, compression)


def _broken(*, chunked: bool) -> Refusal:
    return bad_request("error reading a body from connection") if chunked else internal_error()
