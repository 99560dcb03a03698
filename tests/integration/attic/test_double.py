"""The double itself: that each fault does what it says, that it counts right, and that it is quick enough."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.attic_server import (
    Anonymous,
    AtticServer,
    BreakOff,
    Cut,
    Damage,
    Damaged,
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
    attic_server,
    redirect,
    web_page,
)
from tests.attic_server.control import fault_from_json, fault_to_json
from tests.attic_server.process import NO_TLS
from tests.integration.attic.client import Client, error, new_hash, new_nar

UPLOAD, NAR = Endpoint.UPLOAD, Endpoint.NAR


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AtticServer]:
    with attic_server(tmp_path / "attic") as running:
        running.create_cache("ci")
        yield running


@pytest.fixture
def client(server: AtticServer) -> Client:
    return Client(server, "ci", server.token({"ci": "r w"}))


def put(client: Client, nar: bytes | None = None, name: str = "thing") -> httpx.Response:
    """Upload a new path of this name."""
    nar = new_nar() if nar is None else nar
    path_hash = new_hash()
    return client.put(nar, client.info(nar, store_path_hash=path_hash, store_path=f"/nix/store/{path_hash}-{name}"))


@pytest.mark.parametrize(
    ("action", "status", "kind"),
    [
        (Reply(401), 401, "application/json"),
        (Reply(403), 403, "application/json"),
        (Reply(404), 404, "application/json"),
        (Reply(408, form="text"), 408, "text/plain; charset=utf-8"),
        (Reply(413, form="html"), 413, "text/html; charset=utf-8"),
        (Reply(500), 500, "application/json"),
        (Reply(502, form="html"), 502, "text/html; charset=utf-8"),
        (Reply(520, form="html"), 520, "text/html; charset=utf-8"),
        (Reply(524, form="html"), 524, "text/html; charset=utf-8"),
        (web_page(), 200, "text/html; charset=utf-8"),
        (Reply(200, form="text", text="ok"), 200, "text/plain; charset=utf-8"),
    ],
    ids=str,
)
def test_a_reply_comes_in_place_of_what_was_asked(
    server: AtticServer, client: Client, action: Reply, status: int, kind: str
) -> None:
    server.faults.add(Fault(action, endpoint=UPLOAD))
    answer = put(client)
    assert (answer.status_code, answer.headers["content-type"]) == (status, kind)
    assert not server.objects("ci")
    assert client.config().status_code == 200


def test_a_reply_may_ask_for_patience(server: AtticServer, client: Client) -> None:
    server.faults.add(Fault(Reply(429, retry_after="2")))
    assert client.config().headers["retry-after"] == "2"


def test_a_redirect_names_the_address_that_was_asked_for(server: AtticServer, client: Client) -> None:
    server.faults.add(Fault(redirect("https://elsewhere/attic/")))
    answer = client.config()
    assert (answer.status_code, answer.headers["location"]) == (301, "https://elsewhere/attic/_api/v1/cache-config/ci")


@pytest.mark.parametrize(
    ("fault", "statuses"),
    [
        (Fault(Reply(503), nth=[1, 3]), [503, 200, 503, 200]),
        (Fault(Reply(503), after=2), [200, 200, 503, 503]),
        (Fault(Reply(503), times=1), [503, 200, 200, 200]),
        (Fault(Reply(503), endpoint=Endpoint.CACHE_INFO), [200] * 4),
        (Fault(Reply(503), probability=0), [200] * 4),
        (Fault(Reply(503), head_above=100_000), [200] * 4),
        (Fault(Reply(503), path="-thing"), [200] * 4),
    ],
    ids=["nth", "after", "times", "endpoint", "probability", "head", "path"],
)
def test_a_fault_strikes_when_it_is_its_turn(
    server: AtticServer, client: Client, fault: Fault, statuses: list[int]
) -> None:
    server.faults.add(fault)
    assert [client.config().status_code for _ in statuses] == statuses
    assert server.faults.acted() == [statuses.count(503)]
    server.faults.clear()
    assert client.config().status_code == 200


def test_a_path_is_named_by_a_part_of_its_name_or_its_hash(server: AtticServer, client: Client) -> None:
    server.faults.add(Fault(Reply(503), path="-lib"))
    assert [put(client, name=name).status_code for name in ("lib", "app", "libs")] == [503, 200, 503]
    server.faults.clear()
    path_hash = client.store()
    server.faults.add(Fault(Reply(503), path=path_hash))
    assert client.narinfo(path_hash).status_code == 503
    server.faults.clear()
    server.faults.add(Fault(Reply(503), path=f"/nix/store/{path_hash}-thing", endpoint=NAR))
    assert (client.narinfo(path_hash).status_code, client.nar(path_hash).status_code) == (200, 503)


def test_each_path_may_have_its_own_count(server: AtticServer, client: Client) -> None:
    server.faults.add(Fault(Reply(503), endpoint=UPLOAD, each=True, nth=[1]))
    nars = [new_nar(), new_nar()]
    infos = [client.info(nar) for nar in nars]
    statuses = [[client.put(nar, info).status_code for nar, info in zip(nars, infos, strict=True)] for _ in range(2)]
    assert statuses == [[503, 503], [200, 200]]


def test_chance_is_decided_by_seed_path_and_count_alone(tmp_path: Path) -> None:
    infos: list[tuple[bytes, str]] = [(new_nar(), new_hash()) for _ in range(40)]

    def struck(seed: int, *, parallel: int) -> dict[str, list[int]]:
        with attic_server(tmp_path / f"{seed}-{parallel}", seed=seed) as server:
            server.create_cache("ci")
            server.faults.add(Fault(Reply(503), endpoint=UPLOAD, probability=0.3))
            client = Client(server, "ci", server.token({"ci": "w"}))

            def twice(one: tuple[bytes, str]) -> list[int]:
                info = client.info(one[0], store_path_hash=one[1])
                return [client.put(one[0], info).status_code for _ in range(2)]

            with concurrent.futures.ThreadPoolExecutor(parallel) as threads:
                return dict(zip((one[1] for one in infos), threads.map(twice, infos), strict=True))

    first = struck(1, parallel=1)
    assert first == struck(1, parallel=8)
    assert first != struck(2, parallel=1)
    assert 10 < sum(status == 503 for statuses in first.values() for status in statuses) < 40


@pytest.mark.parametrize("when", ["head", "body", "answer", "stored"])
@pytest.mark.parametrize("preamble", [False, True], ids=["header", "preamble"])
def test_a_reset_cuts_the_connection_and_only_the_last_kind_stores(
    server: AtticServer, client: Client, when: str, preamble: bool
) -> None:
    server.faults.add(Fault(Reset(when, after=100), endpoint=UPLOAD))  # type: ignore[arg-type]  # from a list of words
    nar = new_nar()
    with pytest.raises((httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)):
        client.put(nar, client.info(nar), preamble=preamble)
    assert len(server.objects("ci")) == (1 if when == "stored" else 0)
    assert server.requests[-1].status is None
    server.faults.clear()
    assert put(client).status_code == 200


def test_an_answer_may_break_off(server: AtticServer, client: Client) -> None:
    nar = new_nar()
    path_hash = client.store(nar)
    server.faults.add(Fault(BreakOff(after=100), endpoint=NAR))
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        client.nar(path_hash)
    server.faults.clear()
    server.faults.add(Fault(BreakOff(after=100, reset=False)))
    assert client.nar(path_hash).content == nar[:100]
    assert client.narinfo(path_hash).text.startswith("StorePath: ")
    assert len(client.narinfo(path_hash).content) == 100


@pytest.mark.parametrize("when", ["head", "body", "answer"])
def test_a_stall_lasts_until_the_client_gives_up(server: AtticServer, client: Client, when: str) -> None:
    server.faults.add(Fault(Stall(when, after=10), endpoint=UPLOAD))  # type: ignore[arg-type]  # from a list of words
    nar = new_nar(20_000_000)
    with pytest.raises((httpx.ReadTimeout, httpx.WriteTimeout)):
        httpx.put(
            f"{server.url}_api/v1/upload-path",
            content=nar,
            headers={
                "Authorization": f"Bearer {client.token}",
                "X-Attic-Nar-Info": json.dumps(client.info(nar)),
            },
            timeout=0.5,
            verify=NO_TLS,
        )
    deadline = time.monotonic() + 5
    while server.requests[-1].ended is None:
        assert time.monotonic() < deadline, "the server still waits for a client that left"
        time.sleep(0.02)


def test_a_stall_may_end(server: AtticServer, client: Client) -> None:
    server.faults.add(Fault(Stall("body", after=100, seconds=0.3), endpoint=UPLOAD))
    began = time.monotonic()
    assert put(client).status_code == 200
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("endpoint", [UPLOAD, NAR, Endpoint.NARINFO])
def test_a_drip_slows_both_directions(server: AtticServer, client: Client, endpoint: Endpoint) -> None:
    path_hash, nar = client.store(), new_nar(500)
    server.faults.add(Fault(Drip(1000), endpoint=endpoint))
    began = time.monotonic()
    if endpoint is UPLOAD:
        assert put(client, nar).status_code == 200
    elif endpoint is NAR:
        assert client.nar(path_hash).status_code == 200
    else:
        assert "StorePath" in client.narinfo(path_hash).text
    assert time.monotonic() - began >= 0.15


def test_latency_delays(server: AtticServer, client: Client) -> None:
    server.faults.add(Fault(Latency(0.2)), Fault(Reply(503), latency=0.2, endpoint=Endpoint.CACHE_INFO))
    began = time.monotonic()
    assert client.config().status_code == 200
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("size", [1000, 300_000])
def test_a_cut_body_is_what_the_server_complains_of(server: AtticServer, client: Client, size: int) -> None:
    server.faults.add(Fault(Cut(after=100)))
    answer = put(client, new_nar(size))
    assert error(answer) == (400, "RequestError")
    assert "hash or size" in answer.json()["message"].lower()


def test_a_lost_path_was_accepted_and_is_not_there(server: AtticServer, client: Client) -> None:
    server.faults.add(Fault(Lose(), nth=[1]))
    nar = new_nar()
    info = client.info(nar)
    path_hash = str(info["store_path_hash"])
    assert client.put(nar, info).json()["kind"] == "Uploaded"
    assert client.missing(path_hash).json() == {"missing_paths": [path_hash]}
    assert client.narinfo(path_hash).status_code == 404
    assert client.put(nar, info).json()["kind"] == "Uploaded"
    assert client.missing(path_hash).json() == {"missing_paths": []}


@pytest.mark.parametrize("damage", Damage)
def test_a_damaged_nar_is_known_but_not_what_was_sent_and_only_an_incomplete_one_is_mended(
    server: AtticServer, client: Client, damage: Damage
) -> None:
    server.faults.add(Fault(Damaged(damage), nth=[1]))
    nar = new_nar()
    info = client.info(nar)
    path_hash = str(info["store_path_hash"])
    assert client.put(nar, info).status_code == 200
    assert client.missing(path_hash).json() == {"missing_paths": []}
    assert client.narinfo(path_hash).status_code == 200
    match damage:
        case Damage.TRUNCATED:
            assert client.nar(path_hash).content == nar[:500]
        case Damage.ABORTED:
            with pytest.raises(httpx.RemoteProtocolError):
                client.nar(path_hash)
        case Damage.CORRUPT:
            served = client.nar(path_hash).content
            assert sum(a != b for a, b in zip(served, nar, strict=True)) == 1
        case Damage.MISSING:
            assert error(client.nar(path_hash)) == (404, "NoSuchObject")
        case Damage.INCOMPLETE:
            assert error(client.nar(path_hash)) == (503, "IncompleteNar")
    again = client.put(nar, info).json()["kind"]
    assert again == ("Uploaded" if damage is Damage.INCOMPLETE else "Deduplicated")
    assert (again == "Uploaded") == (server.state.nars[hashlib.sha256(nar).hexdigest()].damage is None)


def test_a_proxy_may_take_no_preamble_or_no_long_header(server: AtticServer, client: Client) -> None:
    server.faults.add(Fault(Reply(400, form="html"), preamble=True), Fault(Reply(431, form="html"), head_above=4096))
    nar = new_nar()
    long = client.info(nar, references=["a" * 5000])
    assert client.put(nar, client.info(nar), preamble=True).status_code == 400
    assert client.put(nar, long).status_code == 431
    assert client.put(nar, client.info(nar)).status_code == 200
    server.faults.clear()
    server.faults.add(Fault(Reply(431, form="html"), head_above=4096))
    assert client.put(nar, long, preamble=True).status_code == 200


def test_a_body_above_the_limit_is_refused_while_it_is_sent(server: AtticServer, client: Client) -> None:
    server.faults.add(Fault(Limit(100_000)))
    assert put(client, new_nar(50_000)).status_code == 200
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), timeout=5) as sock:
        head = "PUT /_api/v1/upload-path HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n"
        sock.sendall(f"{head}X-Attic-Nar-Info: {json.dumps(client.info(b''))}\r\n\r\n".encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_body_of_unknown_length_is_refused_when_it_passes_the_limit(server: AtticServer, client: Client) -> None:
    server.faults.add(Fault(Limit(100_000)))
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), timeout=5) as sock:
        head = "PUT /_api/v1/upload-path HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        info = json.dumps({**client.info(b""), "nar_size": 10**9})
        authorization = f"Authorization: Bearer {client.token}\r\n"
        sock.sendall(f"{head}{authorization}X-Attic-Nar-Info: {info}\r\n\r\n".encode())
        sock.sendall(b"20000\r\n" + bytes(0x20000) + b"\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 413 ")


def test_tokens_may_stop_to_count_during_a_run(server: AtticServer, client: Client) -> None:
    server.faults.add(Fault(Anonymous(), after=1))
    assert [client.config().status_code for _ in range(3)] == [200, 401, 401]
    server.faults.clear()
    server.clock.advance(4000)
    assert client.config().status_code == 401


def test_a_server_may_hang_up_between_requests(server: AtticServer, client: Client) -> None:
    with httpx.Client(verify=NO_TLS, headers={"Authorization": f"Bearer {client.token}"}) as session:
        for _ in range(3):
            session.get(f"{server.url}ci/nix-cache-info")
        assert len({request.peer for request in server.requests}) == 1
        server.faults.add(Fault(HangUp()))
        for _ in range(3):
            session.get(f"{server.url}ci/nix-cache-info")
            time.sleep(0.05)
    assert len({request.peer for request in server.requests}) == 3


def test_small_nars_may_be_fetched_from_a_storage_by_a_signed_address(server: AtticServer, client: Client) -> None:
    server.redirect_nars = True
    small, large = new_nar(), new_nar(100_000)
    first, second = client.store(small), client.store(large)
    answer = client.nar(first)
    assert answer.status_code == 307
    url = answer.headers["location"]
    assert not url.startswith(server.url)
    got = httpx.get(url, verify=NO_TLS)
    assert (got.content, got.headers["content-length"]) == (small, "1000")
    assert httpx.get(url, headers={"Authorization": "Bearer x"}, verify=NO_TLS).status_code == 400
    assert httpx.get(url[:-1] + ("0" if url[-1] != "0" else "1"), verify=NO_TLS).status_code == 401
    server.clock.advance(601)
    assert httpx.get(url, verify=NO_TLS).status_code == 401
    assert [request.status for request in server.storage_requests] == [200, 400, 401, 401]
    assert client.nar(second).content == large


def test_everything_that_was_asked_is_remembered(server: AtticServer, client: Client) -> None:
    nar = new_nar()
    info = client.info(nar)
    client.put(nar, info)
    client.put(nar, info)
    replace(client, token=None).config()
    assert [(one.method, one.endpoint, one.status, one.body_bytes) for one in server.requests] == [
        ("PUT", UPLOAD, 200, 1000),
        ("PUT", UPLOAD, 200, 1000),
        ("GET", Endpoint.CONFIG, 401, 0),
    ]
    assert server.requests[0].headers["authorization"] == f"Bearer {client.token}"
    assert server.requests[0].path == info["store_path"]
    assert server.uploads == {info["store_path_hash"]: 2}
    assert server.completed == [info["store_path"]] * 2
    assert len(server.asked(UPLOAD)) == 2
    server.forget_requests()
    assert not server.requests
    assert not server.uploads


def test_parallel_uploads_are_counted(server: AtticServer, client: Client) -> None:
    server.faults.add(Fault(Latency(0.2)))
    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        assert [one.status_code for one in threads.map(lambda _: put(client), range(6))] == [200] * 6
    assert 2 <= server.most_parallel_uploads <= 6


def test_what_is_there_can_be_changed_directly(server: AtticServer, client: Client) -> None:
    path_hash = new_hash()
    path = f"/nix/store/{path_hash}-x"
    server.put("ci", path, b"content", ["a-b"])
    assert server.objects("ci") == {path}
    assert client.nar(path_hash).content == b"content"
    server.damage(path, Damage.MISSING)
    assert client.nar(path_hash).status_code == 404
    server.damage(path, None)
    assert client.nar(path_hash).status_code == 200
    server.forget(path)
    assert not server.objects("ci")
    assert not server.state.nars


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Reply(503, form="html", headers=(("a", "b"),)), endpoint=UPLOAD, probability=0.05),
        Fault(Reset("body", after=3), path="-x", nth=[3, 1]),
        Fault(Damaged(Damage.CORRUPT), each=True, times=2),
        Fault(Lose()),
    ],
    ids=str,
)
def test_faults_can_be_written_as_json(fault: Fault) -> None:
    written = json.dumps(fault_to_json(fault))
    assert json.dumps(fault_to_json(fault_from_json(json.loads(written)))) == written


def test_a_large_nar_is_kept_in_a_file_that_goes_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "attic"
    with attic_server(folder) as server:
        server.create_cache("ci")
        client = Client(server, "ci", server.token({"ci": "r w"}))
        nar = new_nar(3_000_000)
        path_hash = client.store(nar)
        assert [file.stat().st_size for file in folder.iterdir()] == [3_000_000]
        assert client.nar(path_hash).content == nar
        assert client.put(nar[:-1], client.info(nar[:-1], nar_hash=f"sha256:{'0' * 64}")).status_code == 400
        assert len(list(folder.iterdir())) == 1
        server.forget(path_hash)
        assert not list(folder.iterdir())


def test_ten_thousand_hashes_are_answered_in_a_fraction_of_a_second(server: AtticServer, client: Client) -> None:
    hashes = [new_hash() for _ in range(10_000)]
    for path_hash in hashes[::2]:
        server.put("ci", f"/nix/store/{path_hash}-x", b"one NAR for all")
    began = time.monotonic()
    assert sorted(client.missing(*hashes).json()["missing_paths"]) == sorted(hashes[1::2])
    assert time.monotonic() - began < 1
