"""What really goes wrong on the way to an Attic server: each failure of the field is one test."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from pipelinegen.cache.model import FailureClass, Outcome
from pipelinegen.errors import ConfigError, CredentialsError, StepFailedError, TransientError
from tests.attic_server import (
    Anonymous,
    Cut,
    Drip,
    Endpoint,
    Fault,
    HangUp,
    Latency,
    Limit,
    Lose,
    Reply,
    Reset,
    Stall,
    redirect,
    web_page,
)
from tests.integration.attic.pushing import Scene, report_of
from tests.integration.conftest import ONE_NIX

pytestmark = [pytest.mark.nix, ONE_NIX]

UPLOAD = Endpoint.UPLOAD


TRANSIENT = {
    "database pool, 500": (Fault(Reply(500), endpoint=UPLOAD, each=True, nth=[1]), FailureClass.SERVER),
    **{
        f"page of a proxy, {status}": (
            Fault(Reply(status, form="html"), endpoint=UPLOAD, each=True, nth=[1]),
            FailureClass.PROXY,
        )
        for status in (500, 502, 503, 504, 520, 524)
    },
    "too many requests, 429": (
        Fault(Reply(429, form="html", retry_after="1"), endpoint=UPLOAD, each=True, nth=[1]),
        FailureClass.BUSY,
    ),
    "request timeout, 408": (Fault(Reply(408, form="text"), endpoint=UPLOAD, each=True, nth=[1]), FailureClass.BUSY),
    "reset at the head": (Fault(Reset("head"), endpoint=UPLOAD, each=True, nth=[1]), FailureClass.CONNECTION),
    "reset in the body": (
        Fault(Reset("body", after=50), endpoint=UPLOAD, each=True, nth=[1]),
        FailureClass.CONNECTION,
    ),
    "reset after the body": (Fault(Reset("answer"), endpoint=UPLOAD, each=True, nth=[1]), FailureClass.CONNECTION),
    "stored, the answer lost": (Fault(Reset("stored"), endpoint=UPLOAD, each=True, nth=[1]), FailureClass.CONNECTION),
    "hung up silently": (Fault(HangUp(), endpoint=UPLOAD, each=True, nth=[1]), FailureClass.CONNECTION),
    "no answer": (Fault(Stall("answer"), endpoint=UPLOAD, each=True, nth=[1]), FailureClass.STALLED),
    "cut by a proxy": (Fault(Cut(after=10), endpoint=UPLOAD, each=True, nth=[1]), FailureClass.TRUNCATED),
}


@pytest.mark.parametrize("fault", [fault for fault, _ in TRANSIENT.values()], ids=TRANSIENT)
def test_what_passes_is_tried_again_until_all_is_there(scene: Scene, fault: Fault) -> None:
    scene.server.faults.add(fault)
    report = scene.push(scene.paths.app)
    assert report.ok
    assert scene.server.objects("ci") == {scene.paths.lib, scene.paths.app}


FOR_EVER = {
    "database pool, 500": (Reply(500), FailureClass.SERVER, "database"),
    "page of a proxy": (Reply(524, form="html"), FailureClass.PROXY, "proxy|before it"),
    "no answer": (Stall("head"), FailureClass.STALLED, "answer"),
    "reset": (Reset("answer"), FailureClass.CONNECTION, "broke off"),
    "cut by a proxy": (Cut(after=10), FailureClass.TRUNCATED, "push_url"),
    "body limit of a proxy": (Reply(413, form="html"), FailureClass.TOO_LARGE, "MiB"),
    "nar-info limit": (
        Reply(400, text="General request error: Upload info is too large"),
        FailureClass.INFO_TOO_LARGE,
        "max-nar-info-size",
    ),
    "refused otherwise": (Reply(422, form="text", text="no"), FailureClass.REFUSED, "422"),
}


@pytest.mark.parametrize(("action", "failure", "says"), FOR_EVER.values(), ids=FOR_EVER)
def test_a_path_that_never_arrives_is_named_with_its_class_and_stops_no_other(
    scene: Scene, action: Reply | Stall | Reset | Cut, failure: FailureClass, says: str
) -> None:
    scene.server.faults.add(Fault(action, endpoint=UPLOAD, path="-lib"))
    report = scene.push(scene.paths.app, scene.paths.other, pushing={"answer_timeout": 1})
    lib = report_of(report, scene.paths.lib)
    assert (lib.outcome, lib.failure) == (Outcome.FAILED, failure)
    assert any(word in f"{lib.message} {lib.hint}" for word in says.split("|"))
    assert lib.attempts == (1 if failure.permanent else 2 if failure is FailureClass.TRUNCATED else 3)
    assert report_of(report, scene.paths.app).outcome is Outcome.NOT_TRIED
    assert report_of(report, scene.paths.other).outcome is Outcome.PUSHED
    assert scene.server.objects("ci") == {scene.paths.other}


def test_a_path_that_arrived_though_the_server_never_said_so_is_found_there(scene: Scene) -> None:
    scene.server.faults.add(Fault(Reset("stored"), endpoint=UPLOAD, path="-lib"))
    report = scene.push(scene.paths.app)
    assert report.ok
    assert scene.server.objects("ci") == {scene.paths.lib, scene.paths.app}


def test_a_body_that_is_refused_while_it_is_sent_names_path_and_size(scene: Scene) -> None:
    scene.server.faults.add(Fault(Limit(500_000), endpoint=UPLOAD))
    big = report_of(scene.push(scene.paths.big, scene.paths.lib), scene.paths.big)
    assert big.failure is FailureClass.TOO_LARGE
    assert big.attempts <= 2, "the refusal may get lost with the connection once"
    assert scene.paths.big in (big.message or "")
    assert "1.2 MiB" in (big.message or "")


def test_a_server_that_stops_reading_is_noticed_and_cut(scene: Scene) -> None:
    scene.server.faults.add(Fault(Stall("body", after=1000), endpoint=UPLOAD, path="-big", nth=[1]))
    report = scene.push(scene.paths.big, pushing={"stall_timeout": 1})
    assert report_of(report, scene.paths.big).attempts == 2
    assert report.ok


def test_a_server_that_reads_a_drop_at_a_time_is_cut_too(scene: Scene) -> None:
    scene.server.faults.add(Fault(Drip(bytes_per_second=2000), endpoint=UPLOAD, path="-big", nth=[1]))
    report = scene.push(scene.paths.big, pushing={"stall_timeout": 1})
    assert report_of(report, scene.paths.big).attempts == 2
    assert report.ok


def test_an_expired_token_is_told_with_its_time_on_a_private_cache(scene: Scene) -> None:
    with pytest.raises(CredentialsError) as raised:
        scene.push(scene.paths.lib, seconds=-60)
    assert "expired at" in (raised.value.why or "")


def test_an_expired_token_is_told_with_its_time_on_a_public_cache(scene: Scene) -> None:
    scene.server.state.caches["ci"].public = True
    with pytest.raises(CredentialsError) as raised:
        scene.push(scene.paths.lib, seconds=-60)
    assert "403" in (raised.value.why or "")
    assert "expired at" in (raised.value.why or "")


def test_a_narrow_token_is_told_with_what_it_lacks(scene: Scene) -> None:
    with pytest.raises(CredentialsError) as raised:
        scene.push(scene.paths.lib, rights={"ci": "r"})
    assert "allows pull on ci, not push" in (raised.value.why or "")


def test_a_token_without_pull_is_told_too(scene: Scene) -> None:
    with pytest.raises(CredentialsError) as raised:
        scene.push(scene.paths.lib, rights={"ci": "w", "*": "r w"})
    assert "merges none" in (raised.value.why or "")


def test_a_token_that_expires_on_the_way_ends_the_push_soon(scene: Scene) -> None:
    scene.server.faults.add(Fault(Anonymous(), endpoint=UPLOAD, after=20))
    report = scene.push(scene.paths.many, pushing={"jobs": 2})
    failed = report.of(Outcome.FAILED)
    assert {one.failure for one in failed} == {FailureClass.UNAUTHORIZED}
    assert len(failed) < 10
    assert len(report.of(Outcome.PUSHED)) == 20
    assert len(report.paths) == 61
    assert len(scene.server.asked(UPLOAD)) < 32


def test_a_token_never_follows_a_redirect(scene: Scene) -> None:
    scene.server.faults.add(Fault(redirect("http://127.0.0.1:9/")))
    with pytest.raises(StepFailedError, match="takes nothing") as raised:
        scene.push(scene.paths.lib)
    assert "redirects" in (raised.value.why or "")


def test_another_service_at_that_address_is_recognised(scene: Scene) -> None:
    scene.server.faults.add(Fault(web_page()))
    with pytest.raises(StepFailedError) as raised:
        scene.push(scene.paths.lib)
    assert "no Attic server" in (raised.value.why or "")


def test_a_cache_that_is_not_there_is_told_with_what_creates_it(scene: Scene) -> None:
    with pytest.raises(StepFailedError) as raised:
        scene.push(scene.paths.lib, rights={"*": "r w"}, url=f"{scene.server.url}none")
    assert "there is no cache none" in (raised.value.why or "")
    assert "provision" in (raised.value.hint or "")


def test_a_host_name_that_the_server_does_not_serve_is_told(scene: Scene) -> None:
    scene.server.allowed_hosts = ["cache.example.org"]
    with pytest.raises(StepFailedError) as raised:
        scene.push(scene.paths.lib)
    assert "allowed-hosts" in (raised.value.hint or "")


def test_nothing_listens_there(scene: Scene) -> None:
    with pytest.raises(TransientError) as raised:
        scene.push(scene.paths.lib, url="http://127.0.0.1:9/ci")
    assert "cannot be reached" in (raised.value.why or "")


def test_the_servers_own_endpoint_is_followed_and_blamed_when_it_is_wrong(scene: Scene) -> None:
    scene.server.api_endpoint = "http://127.0.0.1:9/"
    with pytest.raises(TransientError) as raised:
        scene.push(scene.paths.lib)
    assert "api-endpoint" in f"{raised.value.why}"
    assert "push_url" in (raised.value.hint or "")


def test_a_configured_push_url_is_kept_whatever_the_server_says(scene: Scene) -> None:
    scene.server.api_endpoint = "http://127.0.0.1:9/"
    assert scene.push(scene.paths.lib, push_url=f"{scene.server.url}ci").ok


def test_another_key_than_the_configured_one_is_found_before_anything_is_sent(scene: Scene) -> None:
    with pytest.raises(StepFailedError, match="another key"):
        scene.push(scene.paths.lib, public_key="ci:" + "A" * 43 + "=")
    assert not scene.server.asked(UPLOAD)


def test_without_a_public_key_nothing_is_pushed(scene: Scene) -> None:
    with pytest.raises(ConfigError, match="public_key"):
        scene.push(scene.paths.lib, public_key=None)


def test_a_cache_for_another_store_is_found_before_anything_is_sent(scene: Scene) -> None:
    key = scene.server.create_cache("elsewhere", store_dir="/gnu/store")
    with pytest.raises(StepFailedError, match="another store"):
        scene.push(scene.paths.lib, rights={"*": "r w"}, url=f"{scene.server.url}elsewhere", public_key=key)
    assert not scene.server.asked(UPLOAD)


def test_what_the_server_always_loses_is_reported(scene: Scene) -> None:
    scene.server.faults.add(Fault(Lose(), endpoint=UPLOAD, path="-lib"))
    lib = report_of(scene.push(scene.paths.app), scene.paths.lib)
    assert (lib.outcome, lib.failure) == (Outcome.FAILED, FailureClass.LOST)


def test_a_path_that_is_gone_here_is_named(scene: Scene) -> None:
    Path(scene.paths.lib).unlink()
    lib = report_of(scene.push(scene.paths.lib, scene.paths.other), scene.paths.lib)
    assert (lib.outcome, lib.failure) == (Outcome.FAILED, FailureClass.LOCAL)


def test_touching_through_a_redirect_keeps_the_token_here(scene: Scene) -> None:
    scene.push(scene.paths.app)
    scene.server.redirect_nars = True
    assert scene.cache({"ci": "r"}).touch([scene.paths.app]) == 2
    assert scene.server.storage_requests
    assert not any("authorization" in {k.lower() for k in one.headers} for one in scene.server.storage_requests)


def test_the_token_is_in_no_message(scene: Scene) -> None:
    scene.server.faults.add(Fault(Reply(403), endpoint=UPLOAD))
    report = scene.push(scene.paths.app)
    token = scene.server.token({"ci": "r w"})
    shown = report.model_dump_json()
    assert token.split(".")[2] not in shown
    assert token.split(".")[1] not in shown


def test_a_full_queue_keeps_to_the_allowed_uploads_at_once(scene: Scene) -> None:
    assert scene.push(scene.paths.many, pushing={"jobs": 3}).ok
    assert 1 < scene.server.most_parallel_uploads <= 3


def test_nothing_private_is_left_behind(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "private"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    assert scene.push(scene.paths.app).ok
    assert not list(folder.iterdir())
    shutil.rmtree(folder)


def test_what_is_collected_while_the_rest_is_pushed_is_pushed_again(scene: Scene) -> None:
    scene.push(scene.paths.lib)
    scene.server.faults.add(Fault(Latency(1), endpoint=UPLOAD, path="-app"))
    collector = threading.Timer(0.5, scene.server.forget, [scene.paths.lib])
    collector.start()
    report = scene.push(scene.paths.app)
    collector.join()
    assert report.ok
    assert report_of(report, scene.paths.lib).outcome in {Outcome.PUSHED, Outcome.DEDUPLICATED}
    assert scene.server.objects("ci") == {scene.paths.lib, scene.paths.app}
