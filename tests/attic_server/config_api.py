"""cache-config and get-missing-paths."""

from __future__ import annotations

from tests.attic_server.answers import Answer, Refusal, Said, bad_request, json_answer, no_such_cache, text_answer
from tests.attic_server.keys import Keypair
from tests.attic_server.names import CACHE_NAME, PATH_HASH
from tests.attic_server.request import Context, require, wrong_json
from tests.attic_server.state import Cache

I32 = 2**31 - 1
U32 = 2**32 - 1


def read_config(context: Context) -> Answer:
    """GET the settings of a cache."""
    cache, _ = context.cache_for(context.segments[-1], "r")
    api = context.server.api_endpoint or _own_endpoint(context)
    retention: object = "Global" if cache.retention is None else {"Period": cache.retention}
    return json_answer(
        {
            "substituter_endpoint": (context.server.substituter_endpoint or api) + cache.name,
            "api_endpoint": api,
            "public_key": cache.keypair.public(),
            "is_public": cache.public,
            "store_dir": cache.store_dir,
            "priority": cache.priority,
            "upstream_cache_key_names": cache.upstream_keys,
            "retention_period": retention,
        }
    )


def _own_endpoint(context: Context) -> str:
    scheme = "https" if context.head.headers.get("x-forwarded-proto") == "https" else "http"
    return f"{scheme}://{context.head.headers['host']}/"


def create(context: Context) -> Answer:
    """POST a new cache; every setting is needed, and retention is not one of them."""
    name, value = context.segments[-1], _settings(context.json())
    for field in ("keypair", "is_public", "store_dir", "priority", "upstream_cache_key_names"):
        if field not in value:
            raise wrong_json(f"missing field `{field}`")
    require(context.permissions(name), "cc")
    state = context.server.state
    with state.lock:
        if name in state.caches:
            raise Refusal(400, "CacheAlreadyExists", "The cache already exists.")
        state.caches[name] = cache = Cache(name, _keypair(value["keypair"], name))
        _apply(cache, value)
        cache.retention = None
    return Answer(200)


def configure(context: Context) -> Answer:
    """PATCH a cache; what is absent or null stays."""
    name, value = context.segments[-1], _settings(context.json())
    cache, permissions = context.cache_for(name, "cr")
    retention = value.get("retention_period")
    if retention is not None:
        require(permissions, "cq")
        if isinstance(retention, dict) and retention["Period"] > I32:
            raise bad_request("Invalid retention period")
    if not value:
        raise bad_request("No modifiable fields were set.")
    with context.server.state.lock:
        _apply(cache, value)
    return Answer(200)


def destroy(context: Context) -> Answer:
    """DELETE a cache; its name stays taken where deletion is soft."""
    name = context.segments[-1]
    cache, _ = context.cache_for(name, "cd")
    state = context.server.state
    with state.lock:
        if state.find_cache(name) is not cache:
            raise no_such_cache()
        if context.server.soft_delete:
            cache.deleted = True
        else:
            del state.caches[name]
    return Answer(200)


def missing_paths(context: Context) -> Answer:
    """POST hashes, get back those that are not there, each once and in no order."""
    value = context.json()
    for field in ("cache", "store_path_hashes"):
        if field not in value:
            raise wrong_json(f"missing field `{field}`")
    name, hashes = value["cache"], value["store_path_hashes"]
    if not isinstance(name, str) or not CACHE_NAME.fullmatch(name):
        raise wrong_json(f'cache: Invalid cache name "{name}"')
    if not isinstance(hashes, list):
        raise wrong_json("store_path_hashes: invalid type, expected a sequence")
    for place, one in enumerate(hashes):
        if not isinstance(one, str) or not PATH_HASH.fullmatch(one):
            raise wrong_json(f'store_path_hashes[{place}]: Invalid store path hash "{one}": Hash is of invalid format')
    cache, _ = context.cache_for(name, "w")
    return json_answer({"missing_paths": list(set(hashes).difference(cache.objects))})


def _keypair(value: object, name: str) -> Keypair:
    return value if isinstance(value, Keypair) else Keypair.generate(name)


def _settings(value: dict[str, object]) -> dict[str, object]:
    """The fields that are known and not null, checked; a given keypair parsed.

    Raises:
        Said: 422 or 400.
    """
    known = {name: item for name, item in value.items() if name in _CHECKS and item is not None}
    for name, item in known.items():
        if name in _ENUMS and not isinstance(item, str | dict):
            # The server's parser calls a wrong kind of an enumeration a mistake of syntax.
            raise Said(text_answer(400, f"Failed to parse the request body as JSON: {name}: expected value"))
        if not _CHECKS[name](item):
            raise wrong_json(f"{name}: invalid value")
    given = known.get("keypair")
    if isinstance(given, dict):
        try:
            known["keypair"] = Keypair.parse(given["Keypair"])
        except ValueError as error:
            raise wrong_json(f"keypair.Keypair: {error}") from error
    return known


def _integer(item: object, low: int, high: int) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and low <= item <= high


def _is_keypair(item: object) -> bool:
    return item == "Generate" or (isinstance(item, dict) and isinstance(item.get("Keypair"), str) and len(item) == 1)


def _is_retention(item: object) -> bool:
    return item == "Global" or (
        isinstance(item, dict) and list(item) == ["Period"] and _integer(item["Period"], 0, U32)
    )


def _is_names(item: object) -> bool:
    return isinstance(item, list) and all(isinstance(name, str) for name in item)


_ENUMS = {"keypair", "retention_period"}
_CHECKS = {
    "keypair": _is_keypair,
    "is_public": lambda item: isinstance(item, bool),
    "store_dir": lambda item: isinstance(item, str),
    "priority": lambda item: _integer(item, -I32 - 1, I32),
    "upstream_cache_key_names": _is_names,
    "retention_period": _is_retention,
}


def _apply(cache: Cache, value: dict[str, object]) -> None:
    for field, item in value.items():
        match field, item:
            case "keypair", _:
                cache.keypair = _keypair(item, cache.name)
            case "is_public", bool():
                cache.public = item
            case "store_dir", str():
                cache.store_dir = item
            case "priority", int():
                cache.priority = item
            case "upstream_cache_key_names", list():
                cache.upstream_keys = list(item)
            case "retention_period", "Global":
                cache.retention = None
            case "retention_period", {"Period": int(seconds)}:
                cache.retention = seconds
