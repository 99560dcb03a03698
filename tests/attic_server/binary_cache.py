"""What Nix asks for: nix-cache-info, narinfos and NARs."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import parse_qs, urlsplit

from tests.attic_server.answers import (
    Answer,
    Refusal,
    bad_path_hash,
    incomplete_nar,
    internal_error,
    no_such_object,
    not_found,
    unauthorized,
)
from tests.attic_server.names import PATH_HASH
from tests.attic_server.request import Context, require
from tests.attic_server.state import Cache, Damage, Nar, StoredObject

PUBLIC = (("x-attic-cache-visibility", "public"),)
URL_SECONDS = 600
"""How long a presigned URL is good."""


def cache_info(context: Context) -> Answer:
    """GET nix-cache-info."""
    cache, _ = context.cache_for(context.segments[0], "r")
    text = f"WantMassQuery: 1\nStoreDir: {cache.store_dir}\nPriority: {cache.priority}\n"
    return Answer(200, text.encode(), "text/x-nix-cache-info", PUBLIC if cache.public else ())


def narinfo(context: Context) -> Answer:
    """GET a narinfo."""
    cache, stored, nar = _find(context, "narinfo")
    text = cache.narinfo(stored, nar.compression)
    return Answer(200, text.encode(), "text/x-nix-narinfo", PUBLIC if cache.public else ())


def nar_file(context: Context) -> Answer:
    """GET a NAR, or where it is."""
    cache, stored, nar = _find(context, "nar")
    if nar.damage is Damage.INCOMPLETE:
        raise incomplete_nar()
    stored.last_accessed_at = context.server.clock.now()
    visible = PUBLIC if cache.public else ()
    if nar.damage is Damage.MISSING:
        raise no_such_object()
    if context.server.redirect_nars and nar.size < context.server.chunk_threshold:
        return Answer(307, headers=(("location", _presign(context, nar)), *visible))
    return Answer(200, b"", "application/x-nix-nar", visible, nar.read(), aborts=nar.damage is Damage.ABORTED)


def _find(context: Context, extension: str) -> tuple[Cache, StoredObject, Nar]:
    path_hash, dot, kind = context.segments[-1].partition(".")
    if not dot or kind != extension:
        raise not_found()
    if not PATH_HASH.fullmatch(path_hash):
        raise bad_path_hash()
    name, state = context.segments[0], context.server.state
    cache = state.find_cache(name)
    stored = cache.objects.get(path_hash) if cache else None
    nar = state.nars.get(stored.info.nar_hash) if stored else None
    if cache is None or stored is None or nar is None:
        raise no_such_object()  # also to who may not know the cache
    permissions = context.permissions(name)
    require(permissions.with_pull() if cache.public else permissions, "r")
    return cache, stored, nar


def _presign(context: Context, nar: Nar) -> str:
    expires = int(context.server.clock.now()) + URL_SECONDS
    signature = _signature(context, nar.hash, expires)
    return f"{context.server.storage_url}bucket/{nar.hash}?X-Amz-Expires={expires}&X-Amz-Signature={signature}"


def _signature(context: Context, key: str, expires: int) -> str:
    return hmac.digest(context.server.secret, f"{key}/{expires}".encode(), hashlib.sha256).hex()


def storage(context: Context) -> Answer:
    """GET from the object storage: permitted by the URL alone; a token beside it is an error, as in S3."""
    url = urlsplit(context.head.target)
    query, key = parse_qs(url.query), url.path.rpartition("/")[2]
    if "authorization" in context.head.headers:
        raise Refusal(400, "InvalidArgument", "Only one auth mechanism allowed")
    expires = int(query.get("X-Amz-Expires", ["0"])[0])
    right = hmac.compare_digest(query.get("X-Amz-Signature", [""])[0], _signature(context, key, expires))
    if not right or context.server.clock.now() > expires:
        raise unauthorized()
    nar = context.server.state.nars.get(key)
    if nar is None:
        raise internal_error()
    return Answer(200, b"", "application/octet-stream", (), nar.read(), nar.stored_size)
