"""`run push` with real Nix and `file://` caches."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from pipelinegen.cache.trust import PipelineClass
from pipelinegen.cli import run_command_line
from pipelinegen.config import Config
from pipelinegen.config_caches import CacheConfig, WriterClass
from pipelinegen.console import Console
from pipelinegen.errors import CredentialsError, StepFailedError, TransientError, UsageError
from pipelinegen.run.push import run_push
from pipelinegen.run.result import Reports, Status, StepResult
from tests.integration.run.conftest import Caches, Store

pytestmark = pytest.mark.nix


def push(cache: str, *paths: str, config: Config, console: Console, reports: Reports | None = None) -> StepResult:
    return run_push(cache, paths, config=config, kind=PipelineClass.PROTECTED, console=console, reports=reports)


def test_whole_closures_are_pushed_signed_and_found_there(store: Store, caches: Caches, console: Console) -> None:
    drvs = store.instantiate("app", "lib")
    app = store.build(drvs["app"])
    result = push("public", app, config=caches.config, console=console)
    result.raise_if_failed()
    assert (result.counts["present"], result.counts["pushed"]) == (0, 2), "with what it refers to"
    assert caches.holds("public", app)
    assert caches.holds("public", store.output(drvs["lib"]))
    narinfo = (caches.folder / "public" / f"{Path(app).name[:32]}.narinfo").read_text()
    assert "Sig: public-1:" in narinfo


def test_what_the_cache_has_is_not_pushed_again(store: Store, caches: Caches, console: Console) -> None:
    drvs = store.instantiate("lib", "two")
    lib, two = store.build(drvs["lib"]), store.output(drvs["two"])
    push("public", lib, config=caches.config, console=console)
    store.build(drvs["two"])
    result = push("public", lib, two, lib, config=caches.config, console=console)
    assert [(item.name, item.status) for item in result.items] == [(lib, Status.PRESENT), (two, Status.OK)]


def test_a_cache_that_lost_part_of_a_closure_is_filled_again(store: Store, caches: Caches, console: Console) -> None:
    drvs = store.instantiate("app", "lib")
    app, lib = store.build(drvs["app"]), store.output(drvs["lib"])
    push("public", app, config=caches.config, console=console)
    (caches.folder / "public" / f"{Path(lib).name[:32]}.narinfo").unlink()
    assert push("public", app, config=caches.config, console=console).counts["pushed"] == 1
    assert caches.holds("public", lib)


def test_what_is_not_here_is_fetched_from_a_trusted_cache_first(store: Store, caches: Caches, console: Console) -> None:
    lib = store.build(store.instantiate("lib")["lib"])
    push("ours", lib, config=caches.config, console=console)
    store.delete(lib)
    assert push("public", lib, config=caches.config, console=console).ok
    assert caches.holds("public", lib)


def test_what_only_an_untrusted_cache_has_is_not_published(
    store: Store, caches: Caches, console: Console, tmp_path: Path
) -> None:
    drvs = store.instantiate("lib", "two")
    lib = store.build(drvs["lib"])
    two = store.output(drvs["two"])
    store.build(drvs["two"])
    push("theirs", lib, config=caches.config, console=console)
    store.delete(lib)
    reports = Reports(junit=tmp_path / "junit.xml")
    result = push("public", lib, two, config=caches.config, console=console, reports=reports)
    assert [item.status for item in result.items] == [Status.FAILED, Status.NOT_TRIED]
    assert not caches.holds("public", lib)
    with pytest.raises(StepFailedError, match="1 of 2 paths are nowhere to be had") as raised:
        result.raise_if_failed()
    assert raised.value.why == lib
    assert "run the job that builds it again" in (raised.value.hint or "")
    assert b'failures="1"' in (tmp_path / "junit.xml").read_bytes()


def test_a_signature_that_readers_do_not_accept_fails_the_push(store: Store, caches: Caches, console: Console) -> None:
    wrong = caches.config.caches["public"].model_copy(update={"secret_key_file": str(caches.folder / "ours.secret")})
    config = caches.config.model_copy(update={"caches": {**caches.config.caches, "public": wrong}})
    result = push("public", store.build(store.instantiate("lib")["lib"]), config=config, console=console)
    with pytest.raises(StepFailedError, match="does not serve what was pushed") as raised:
        result.raise_if_failed()
    assert "secret_key_file" in (raised.value.hint or "")


def test_a_path_that_a_cache_out_of_reach_may_have_is_worth_a_second_try(
    store: Store, caches: Caches, console: Console
) -> None:
    lib = store.output(store.instantiate("lib")["lib"])
    away = CacheConfig(url="http://127.0.0.1:1", writers=WriterClass.PROTECTED, public_key="away-1:" + "A" * 43 + "=")
    config = caches.config.model_copy(update={"caches": {**caches.config.caches, "away": away}})
    with pytest.raises(TransientError, match="1 of 1 paths are nowhere to be had") as raised:
        push("public", lib, config=config, console=console).raise_if_failed()
    assert "127.0.0.1:1" in (raised.value.why or "")


def test_a_missing_key_is_told_before_anything_is_pushed_and_reported(
    store: Store, caches: Caches, console: Console, tmp_path: Path
) -> None:
    wrong = caches.config.caches["public"].model_copy(update={"secret_key_file": "/nonexistent/key"})
    config = caches.config.model_copy(update={"caches": {"public": wrong}})
    lib = store.build(store.instantiate("lib")["lib"])
    reports = Reports(json_file=tmp_path / "report.json")
    with pytest.raises(CredentialsError, match="signing key of cache public is missing"):
        push("public", lib, config=config, console=console, reports=reports)
    written = StepResult.model_validate_json((tmp_path / "report.json").read_bytes())
    assert (written.credentials, [item.status for item in written.items]) == (True, [Status.FAILED])
    assert not caches.holds("public", lib)


def test_a_cache_without_its_key_does_not_keep_others_from_being_filled(
    store: Store, caches: Caches, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lib = store.build(store.instantiate("lib")["lib"])
    good = caches.config.caches["public"]
    lines = []
    for name, key in (("keyless", "/nonexistent/key"), ("public", good.secret_key_file)):
        lines += [f"[caches.{name}]", f'url = "file://{caches.folder}/{name}"', 'writers = "protected"']
        lines += ["publish = true", f'public_key = "{good.public_key}"', f'secret_key_file = "{key}"']
    (tmp_path / "pipelinegen.toml").write_text("\n".join(lines))
    words = ["-C", str(tmp_path), "run", "push", "--to", "keyless", "--to", "public", lib]
    assert run_command_line(words) == CredentialsError.exit_code
    assert "signing key of cache keyless is missing" in capfd.readouterr().err
    assert caches.holds("public", lib)


def test_the_secret_key_is_never_shown(store: Store, caches: Caches, console: Console, log: io.StringIO) -> None:
    push("public", store.build(store.instantiate("lib")["lib"]), config=caches.config, console=console)
    assert (caches.folder / "public.secret").read_text().partition(":")[2] not in log.getvalue()


def test_an_unknown_cache_is_wrong_use_with_a_close_match(caches: Caches, console: Console, store: Store) -> None:
    with pytest.raises(UsageError, match="no cache 'publik'") as raised:
        push("publik", f"{store.root}/store/{'0' * 32}-x", config=caches.config, console=console)
    assert raised.value.hint == "did you mean 'public'?"


def test_a_merge_request_of_another_project_pushes_nowhere(caches: Caches, console: Console, store: Store) -> None:
    lib = store.build(store.instantiate("lib")["lib"])
    with pytest.raises(UsageError, match="another project's merge request"):
        run_push("public", [lib], config=caches.config, kind=PipelineClass.FORK, console=console)
    assert not caches.holds("public", lib)
