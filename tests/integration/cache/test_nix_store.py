"""What a cache is believed to hold: real Nix, real signatures, a real HTTP server that misbehaves."""

from __future__ import annotations

import functools
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelinegen import process, remote_store
from pipelinegen.cache.access import access
from pipelinegen.cache.model import Answers
from pipelinegen.cache.nix_store import NixStoreCache
from pipelinegen.cache.read import CacheReader
from pipelinegen.cache.trust import PipelineClass
from pipelinegen.config import Config
from pipelinegen.config_caches import CacheConfig, WriterClass
from pipelinegen.errors import CredentialsError, StepFailedError, TransientError

pytestmark = pytest.mark.nix

EXPRESSION = """
let make = name: script: derivation {
  inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" script ];
};
in rec {
  lib = make "lib" "echo lib > $out";
  app = make "app" "echo ${lib} > $out";
  other = make "other" "echo > $out";
}
"""


@dataclass(frozen=True)
class Paths:
    """Three built store paths; `app` refers to `lib`."""

    lib: str
    app: str
    other: str


@pytest.fixture
def paths(nix_bin: Path, tmp_path: Path) -> Paths:
    file = tmp_path / "paths.nix"
    file.write_text(EXPRESSION)
    built = process.run(["nix-build", "--no-out-link", file, "-A", "lib", "-A", "app", "-A", "other"]).text.split()
    return Paths(*built)


@dataclass(frozen=True)
class Key:
    secret: Path
    public: str


def new_key(folder: Path, name: str) -> Key:
    secret, public = folder / f"{name}.secret", folder / f"{name}.public"
    process.run(["nix-store", "--generate-binary-cache-key", name, secret, public])
    return Key(secret, public.read_text("ascii").strip())


def cache(folder: Path, key: Key | None, **settings: object) -> NixStoreCache:
    config = CacheConfig.model_validate(
        {
            "url": f"file://{folder}",
            "writers": WriterClass.PROTECTED,
            "public_key": key.public if key else None,
            "secret_key_file": str(key.secret) if key else None,
            **settings,
        }
    )
    return NixStoreCache("ci", config)


def narinfo(folder: Path, path: str) -> Path:
    return folder / f"{Path(path).name[:32]}.narinfo"


def ask(asked: NixStoreCache, *wanted: str) -> Answers:
    answers, trouble = asked.query(wanted)
    assert trouble is None
    return answers


def test_what_was_pushed_is_held_and_what_was_not_is_not(paths: Paths, tmp_path: Path) -> None:
    made = cache(tmp_path / "cache", new_key(tmp_path, "ci-1"))
    made.push([paths.app])
    assert ask(made, paths.app, paths.lib, paths.other) == {paths.app: True, paths.lib: True, paths.other: False}


def test_a_signing_key_may_lie_in_any_folder(paths: Paths, tmp_path: Path) -> None:
    folder = tmp_path / "keys & more %20"
    folder.mkdir()
    made = cache(tmp_path / "cache", new_key(folder, "ci-1"))
    made.push([paths.app])
    assert ask(made, paths.app) == {paths.app: True}


def test_a_path_whose_closure_has_a_hole_is_not_held(paths: Paths, tmp_path: Path) -> None:
    made = cache(tmp_path / "cache", new_key(tmp_path, "ci-1"))
    made.push([paths.app, paths.other])
    narinfo(tmp_path / "cache", paths.lib).unlink()
    assert ask(made, paths.app, paths.other) == {paths.app: False, paths.other: True}


def test_a_path_that_another_key_of_the_same_name_signed_is_not_held(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "forger").mkdir()
    forger = new_key(tmp_path / "forger", "ci-1")
    cache(tmp_path / "cache", forger).push([paths.app])
    honest = cache(tmp_path / "cache", new_key(tmp_path, "ci-1"))
    assert ask(honest, paths.app) == {paths.app: False}


def test_an_unsigned_path_is_held_only_where_no_signature_is_asked_for(paths: Paths, tmp_path: Path) -> None:
    cache(tmp_path / "cache", None).push([paths.app])
    assert ask(cache(tmp_path / "cache", None), paths.app) == {paths.app: True}
    assert ask(cache(tmp_path / "cache", new_key(tmp_path, "ci-1")), paths.app) == {paths.app: False}


def test_one_bad_path_does_not_spoil_the_answers_for_many_good_ones(paths: Paths, tmp_path: Path) -> None:
    key = new_key(tmp_path, "ci-1")
    cache(tmp_path / "cache", key).push([paths.app])
    cache(tmp_path / "cache", None).push([paths.other])
    assert ask(cache(tmp_path / "cache", key), paths.lib, paths.other, paths.app) == {
        paths.lib: True,
        paths.other: False,
        paths.app: True,
    }


class Faulty(SimpleHTTPRequestHandler):
    """Serves a cache's folder, or refuses everything with `status`."""

    status = 200

    def do_GET(self) -> None:
        if self.server.status == 200:  # type: ignore[attr-defined]
            super().do_GET()
        else:
            self.send_error(self.server.status)  # type: ignore[attr-defined]

    def do_HEAD(self) -> None:
        if self.server.status == 200:  # type: ignore[attr-defined]
            super().do_HEAD()
        else:
            self.send_error(self.server.status)  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the library's
        """Be quiet."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    folder = tmp_path / "cache"
    folder.mkdir()
    made = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Faulty, directory=str(folder)))
    made.daemon_threads = True
    made.status = 200  # type: ignore[attr-defined]
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def url(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def test_over_http_the_answers_are_the_same(paths: Paths, tmp_path: Path, server: ThreadingHTTPServer) -> None:
    key = new_key(tmp_path, "ci-1")
    cache(tmp_path / "cache", key).push([paths.app])
    asked = cache(tmp_path / "cache", key, url=url(server))
    assert ask(asked, paths.app, paths.other) == {paths.app: True, paths.other: False}


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_cache_that_refuses_is_unknown_never_absent(
    status: int, paths: Paths, tmp_path: Path, server: ThreadingHTTPServer
) -> None:
    server.status = status  # type: ignore[attr-defined]
    answers, trouble = cache(tmp_path / "cache", None, url=url(server)).query([paths.app])
    assert answers == {paths.app: None}
    # Nix 2.8 takes a refusal for something that is no cache at all.
    assert trouble
    assert str(status) in trouble or "does not appear to be a binary cache" in trouble


def test_a_cache_that_is_away_is_unknown(paths: Paths, tmp_path: Path) -> None:
    answers, trouble = cache(tmp_path / "cache", None, url="http://127.0.0.1:1").query([paths.app])
    assert answers == {paths.app: None}
    assert trouble


def test_an_absence_that_nix_remembers_is_asked_again(
    paths: Paths, tmp_path: Path, server: ThreadingHTTPServer
) -> None:
    key = new_key(tmp_path, "ci-1")
    asked = cache(tmp_path / "cache", key, url=url(server))
    cache(tmp_path / "cache", key).push([paths.other])
    assert ask(asked, paths.app) == {paths.app: False}
    cache(tmp_path / "cache", key).push([paths.app])
    assert ask(asked, paths.app) == {paths.app: True}


def test_a_path_that_does_not_become_visible_is_named(paths: Paths, tmp_path: Path) -> None:
    cache(tmp_path / "cache", None).push([paths.app])
    with pytest.raises(StepFailedError) as caught:
        cache(tmp_path / "cache", new_key(tmp_path, "ci-1")).wait_until_visible([paths.app], timeout=0.1)
    assert paths.app in str(caught.value.where)


def test_a_missing_signing_key_is_a_matter_of_credentials(paths: Paths, tmp_path: Path) -> None:
    made = cache(tmp_path / "cache", None, secret_key_file="$NO_SUCH_VARIABLE")
    with pytest.raises(CredentialsError):
        made.push([paths.app])


def test_a_push_to_a_server_that_is_away_is_worth_a_retry(paths: Paths, tmp_path: Path) -> None:
    with pytest.raises(TransientError):
        cache(tmp_path / "cache", None, push_url="http://127.0.0.1:1").push([paths.app])


def test_a_push_that_a_server_refuses_for_good_is_not_worth_a_retry(
    paths: Paths, tmp_path: Path, server: ThreadingHTTPServer
) -> None:
    server.status = 400  # type: ignore[attr-defined]
    with pytest.raises(StepFailedError):
        cache(tmp_path / "cache", None, push_url=url(server)).push([paths.app])


def test_a_server_that_hangs_has_half_a_minute_to_answer(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = remote_store._SOON.index("stalled-download-timeout") + 1
    assert remote_store._SOON[at] == "30"
    monkeypatch.setattr(remote_store, "_SOON", (*remote_store._SOON[:at], "1", *remote_store._SOON[at + 1 :]))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hangs = f"http://127.0.0.1:{silent.getsockname()[1]}"
        before = time.monotonic()
        answers, trouble = cache(tmp_path / "cache", None, url=hangs).query([paths.app])
    assert answers == {paths.app: None}
    assert trouble
    assert time.monotonic() - before < 30


def test_a_reader_asks_the_next_cache_only_for_what_is_missing(paths: Paths, tmp_path: Path) -> None:
    first, second = cache(tmp_path / "one", None), cache(tmp_path / "two", None)
    first.push([paths.lib])
    second.push([paths.app])
    reader = CacheReader({"one": first.config, "two": second.config}, ["one", "two"])
    known = reader.ask([paths.lib, paths.app, paths.other])
    assert known.where(paths.lib) == "one"
    assert known.where(paths.app) == "two"
    assert known.where(paths.other) is None
    assert paths.lib not in known.caches["two"]


def test_a_cache_that_failed_once_is_not_asked_again_in_one_run(paths: Paths) -> None:
    config = CacheConfig(url="http://127.0.0.1:1")
    reader = CacheReader({"away": config}, ["away"])
    assert reader.ask([paths.lib]).trouble
    assert reader.ask([paths.app]).caches["away"] == {paths.app: None}


def test_jobs_fetch_from_exactly_the_caches_that_they_trust(paths: Paths, tmp_path: Path) -> None:
    key = new_key(tmp_path, "main-1")
    config = Config(
        caches={
            "main": CacheConfig(url="file:///main", writers=WriterClass.PROTECTED, public_key=key.public),
            "open": CacheConfig(url="file:///open", writers=WriterClass.UNPROTECTED),
        }
    )
    with access(config, PipelineClass.PROTECTED, near=tmp_path, say=print) as way:
        assert way.substitution is not None
        assert way.substitution.substituters == ("file:///main",)
        assert way.substitution.public_keys == (key.public,)
    with access(config, PipelineClass.UNPROTECTED, near=tmp_path, say=print) as way:
        assert way.substitution is not None
        assert set(way.substitution.substituters) == {"file:///main", "file:///open?trusted=true"}
