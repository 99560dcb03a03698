"""What is remembered of evaluations, taken from the default branch's artifacts over real HTTP."""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelinegen import gitlab_transport
from pipelinegen.ci_env import CiEnv
from pipelinegen.inventory.model import FlakeOutput, FlakeSource
from pipelinegen.memo import codec, travel
from pipelinegen.memo.inspect import Memo
from pipelinegen.memo.model import Reads, Record, Result, Snapshot, Witness, World
from pipelinegen.memo.place import cache_folder
from pipelinegen.memo.store import MemoStore, export
from pipelinegen.memo.travel import Fetched, fetch_memo, memo_to_leave
from tests.gitlab_archives import Archive, running_storage
from tests.gitlab_server import JOB_TOKEN, PROJECT, PROJECT_TOKEN, FakeGitLab, Fault, api_url, running_gitlab

WORLD = World(nix_version="2.26.3", locks="0" * 64, subdirectory="", options="1" * 64)
FILE = ".pipelinegen/memo.tar"


def snapshot(tree: str = "sha256-main", world: World = WORLD) -> Snapshot:
    """What one output reads, at one tree."""
    path = ("packages", "x86_64-linux", "hello")
    output = FlakeOutput(path=path, drv_attr_path=path, kind="package", drv_path="/nix/store/" + "0" * 32 + "-a.drv")
    witness = Witness(tree=tree, metadata=("narHash", "rev"))
    record = Record((path, "item"), Result(output=output), Reads(frozenset({"flake.nix"})), (tree,))
    return Snapshot(world, witness, "paths", {"flake.nix": "-:00"}, {}, {"rev": '"1"'}, {record.key: record})


def memo_in(folder: Path, world: World = WORLD) -> Memo:
    return Memo(MemoStore(folder / "memo"), world, lambda _: False)


def left(*snapshots: Snapshot, world: World = WORLD) -> bytes:
    """The file that a pipeline of `main` leaves that remembers these, older ones first."""
    with tempfile.TemporaryDirectory() as folder:
        memo = memo_in(Path(folder), world)
        for one in snapshots:
            assert memo.store.save(one) is None
        data, trouble = memo_to_leave(job(None, branch="main"), memo, source("sha256-main"))
    assert trouble is None
    assert data is not None
    return data


def source(tree: str) -> FlakeSource:
    info = {"narHash": tree, "rev": "1"}
    return FlakeSource(reference=".", store_path="/nix/store/source", source_info=info)


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    with running_gitlab() as made:
        made.archives.append(Archive("main", "inspect", {FILE: left(snapshot())}))
        yield made


@pytest.fixture(autouse=True)
def tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_JOB_TOKEN", JOB_TOKEN)
    monkeypatch.delenv("PIPELINEGEN_TOKEN", raising=False)
    monkeypatch.setattr(gitlab_transport, "PAUSES", (0.01,))


def job(server: FakeGitLab | None, **more: Any) -> CiEnv:
    """A job of a branch that is not protected."""
    values: dict[str, Any] = {
        "in_ci": True,
        "gitlab": True,
        "project_id": PROJECT,
        "api_url": api_url(server) if server else None,
        "branch": "topic",
        "default_branch": "main",
        "job_name": "inspect",
    }
    return CiEnv(**{**values, **more})


def fetched(env: CiEnv, tmp_path: Path, world: World = WORLD) -> tuple[Fetched | None, list[Snapshot]]:
    """What came of it, and what is remembered then."""
    memo = memo_in(cache_folder(env, tmp_path / "cache"), world)
    found = fetch_memo(env, memo)
    return found, list(memo.store.snapshots(world, Witness(tree="", metadata=())))


def requests(gitlab: FakeGitLab) -> list[dict[str, str]]:
    """Headers of what was asked of the artifacts."""
    return [headers for path, _, headers in gitlab.seen if "/artifacts/" in path]


def test_a_branch_that_remembers_nothing_begins_with_what_the_default_branch_left(
    gitlab: FakeGitLab, tmp_path: Path
) -> None:
    found, there = fetched(job(gitlab), tmp_path)
    assert found == Fetched("took what the last pipeline of main remembered: 1 attributes", taken=True)
    assert [one.tree.tree for one in there] == ["sha256-main"]
    assert dict(there[0].records) == dict(snapshot().records)
    path, query, headers = gitlab.seen[0]
    assert path == f"/api/v4/projects/{PROJECT}/jobs/artifacts/main/raw/.pipelinegen/memo.tar"
    assert query == {"job": ["inspect"], "search_recent_successful_pipelines": ["true"]}
    assert headers["JOB-TOKEN"] == JOB_TOKEN


def test_what_is_remembered_is_not_asked_for_again(gitlab: FakeGitLab, tmp_path: Path) -> None:
    fetched(job(gitlab), tmp_path)
    assert fetched(job(gitlab), tmp_path)[0] is None
    assert len(requests(gitlab)) == 1


class TestWhoWroteIt:
    """Nothing that somebody may have put there reaches a pipeline of a protected ref."""

    @pytest.mark.parametrize(
        "more",
        [
            {"ref_protected": True},
            {"ref_protected": True, "branch": "main"},
            {"gitlab": False},
            {"default_branch": None},
            {"job_name": None},
        ],
        ids=["protected branch", "default branch", "laptop", "no default branch", "no job"],
    )
    def test_nothing_is_asked(self, more: dict[str, Any], gitlab: FakeGitLab, tmp_path: Path) -> None:
        assert fetched(job(gitlab, **more), tmp_path) == (None, [])
        assert requests(gitlab) == []

    def test_a_protected_ref_finds_nothing_of_what_a_job_with_its_cache_took(
        self, gitlab: FakeGitLab, tmp_path: Path
    ) -> None:
        gitlab.archives.append(Archive("main", "inspect", {FILE: left(snapshot("sha256-planted"))}))
        assert fetched(job(gitlab), tmp_path)[1], "it is there for this branch"
        assert fetched(job(gitlab, ref_protected=True, branch="main"), tmp_path) == (None, [])

    def test_a_job_of_a_maintainer_uses_what_protected_refs_left_and_adds_nothing_of_others(
        self, gitlab: FakeGitLab, tmp_path: Path
    ) -> None:
        main = job(gitlab, ref_protected=True, branch="main")
        assert memo_in(cache_folder(main, tmp_path / "cache")).store.save(snapshot("sha256-own")) is None
        other = WORLD.model_copy(update={"locks": "2" * 64})
        gitlab.archives.append(Archive("main", "inspect", {FILE: left(snapshot(world=other), world=other)}))
        assert [one.tree.tree for one in fetched(job(gitlab), tmp_path)[1]] == ["sha256-own"]
        assert fetched(job(gitlab), tmp_path, other) == (None, []), "the folder is that of protected refs"

    def test_only_artifacts_of_the_default_branch_are_taken(self, gitlab: FakeGitLab, tmp_path: Path) -> None:
        gitlab.archives[:] = [Archive("topic", "inspect", gitlab.archives[0].files)]
        found, there = fetched(job(gitlab), tmp_path)
        assert there == []
        assert found is not None
        assert not found.trouble

    def test_a_fork_asks_itself(self, gitlab: FakeGitLab, tmp_path: Path) -> None:
        found, there = fetched(job(gitlab, project_id="8"), tmp_path)
        assert there == []
        assert gitlab.seen[0][0].startswith("/api/v4/projects/8/")
        assert found is not None
        assert not found.trouble


class TestWhatGitLabHas:
    """The last pipeline that passed, as far as it can be seen."""

    def test_names_are_what_they_are(self, gitlab: FakeGitLab, tmp_path: Path) -> None:
        gitlab.archives.append(Archive("rel/1 é?#", "nix os: [1/2]", gitlab.archives[0].files))
        env = job(gitlab, default_branch="rel/1 é?#", job_name="nix os: [1/2]")
        found, _ = fetched(env, tmp_path)
        assert found is not None
        assert found.taken
        assert "rel/1 é?#" in found.sentence

    @pytest.mark.parametrize(("searches", "taken"), [(True, True), (False, False)], ids=["18.10", "older"])
    def test_behind_a_schedule_only_newer_servers_find_it(
        self, searches: bool, taken: bool, gitlab: FakeGitLab, tmp_path: Path
    ) -> None:
        gitlab.searches = searches
        gitlab.archives.append(Archive("main", "cache-report", {"cache-report/report.txt": b""}))
        found, _ = fetched(job(gitlab), tmp_path)
        assert found is not None
        assert (found.taken, found.trouble) == (taken, False)

    def test_a_pipeline_that_failed_leaves_nothing(self, gitlab: FakeGitLab, tmp_path: Path) -> None:
        gitlab.archives.append(Archive("main", "inspect", {FILE: left(snapshot("sha256-bad"))}, passed=False))
        assert [one.tree.tree for one in fetched(job(gitlab), tmp_path)[1]] == ["sha256-main"]

    def test_where_a_job_token_may_not_the_projects_token_may(
        self, gitlab: FakeGitLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gitlab.free = True
        found, _ = fetched(job(gitlab), tmp_path)
        assert found is not None
        assert (found.taken, found.trouble) == (False, False)
        assert "not in GitLab's artifacts, or not for this job" in found.sentence
        monkeypatch.setenv("PIPELINEGEN_TOKEN", PROJECT_TOKEN)
        found, _ = fetched(job(gitlab), tmp_path)
        assert found is not None
        assert found.taken
        last = requests(gitlab)[-1]
        assert (last["PRIVATE-TOKEN"], "JOB-TOKEN" in last) == (PROJECT_TOKEN, False)

    def test_a_token_that_is_refused_is_said(
        self, gitlab: FakeGitLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CI_JOB_TOKEN", "expired-token")
        found, _ = fetched(job(gitlab), tmp_path)
        assert found is not None
        assert found.trouble
        assert found.sentence.endswith("401 Unauthorized")
        assert "expired-token" not in found.sentence

    def test_without_a_token_or_an_api_that_is_said(
        self, gitlab: FakeGitLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert fetched(job(None), tmp_path)[0] is not None
        monkeypatch.delenv("CI_JOB_TOKEN")
        found, _ = fetched(job(gitlab), tmp_path)
        assert found is not None
        assert "there is no token for GitLab's API" in found.sentence
        assert gitlab.seen == []


OF_ANOTHER = WORLD.model_copy(update={"nix_version": "2.34.8"})
GOOD = left(snapshot())


def tar(*parts: bytes | None) -> bytes:
    """An archive with these files; null is a folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for part in parts:
            member = tarfile.TarInfo("x")
            member.type = tarfile.DIRTYPE if part is None else tarfile.REGTYPE
            member.size = len(part or b"")
            archive.addfile(member, io.BytesIO(part or b""))
    return stream.getvalue()


class TestWhatIsNoSnapshot:
    """What cannot be used is not kept."""

    @pytest.mark.parametrize(
        ("data", "said", "trouble"),
        [
            (b"", "cannot be read", True),
            (GOOD[:700], "cannot be read", True),
            (bytes(10240), "cannot be read", True),
            (tar(b"no snapshot"), "cannot be read", True),
            (tar(export(snapshot()), b""), "cannot be read", True),
            (tar(None), "cannot be read", True),
            (b"<html>Please log in</html>", "cannot be read", True),
            (gzip.compress(b'{"format": 0}\n'), "cannot be read", True),
            (gzip.compress(GOOD), "cannot be read", True),
            (left(snapshot(world=OF_ANOTHER), world=OF_ANOTHER), "is of no use here", False),
        ],
        ids=[
            "empty",
            "torn",
            "no files",
            "another file",
            "an empty file",
            "a folder",
            "a page",
            "another format",
            "compressed twice",
            "another world",
        ],
    )
    def test_it_is_said_and_nothing_is_kept(
        self, data: bytes, said: str, trouble: bool, gitlab: FakeGitLab, tmp_path: Path
    ) -> None:
        gitlab.archives.append(Archive("main", "inspect", {FILE: data}))
        found, there = fetched(job(gitlab), tmp_path)
        assert found is not None
        assert (found.taken, found.trouble) == (False, trouble)
        assert said in found.sentence
        assert there == []
        assert not list((tmp_path / "cache").rglob("*.gz"))

    def test_a_bomb_is_not_unpacked(self, gitlab: FakeGitLab, tmp_path: Path) -> None:
        blank = bytes(1024 * 1024)
        stream = zlib.compressobj(wbits=31)
        bomb = b"".join(stream.compress(blank) for _ in range(codec.MAX_PLAIN_BYTES // len(blank) + 2)) + stream.flush()
        assert len(bomb) < travel.MAX_BYTES
        gitlab.archives.append(Archive("main", "inspect", {FILE: tar(bomb)}))
        found, there = fetched(job(gitlab), tmp_path)
        assert found is not None
        assert "cannot be read" in found.sentence
        assert there == []

    def test_a_sparse_file_is_not_unpacked(self, gitlab: FakeGitLab, tmp_path: Path) -> None:
        member = tarfile.TarInfo("x")
        member.type = tarfile.GNUTYPE_SPARSE
        header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
        header[483:495] = b"%011o\0" % (1 << 32)  # its size when it is read
        header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
        gitlab.archives.append(Archive("main", "inspect", {FILE: bytes(header) + bytes(1024)}))
        tracemalloc.start()
        found, _ = fetched(job(gitlab), tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found is not None
        assert "cannot be read" in found.sentence
        assert peak < 100 << 20

    def test_a_folder_that_cannot_be_written_costs_only_time(self, gitlab: FakeGitLab, tmp_path: Path) -> None:
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache" / "unprotected").write_text("a file")
        found, _ = fetched(job(gitlab), tmp_path)
        assert found is not None
        assert found.trouble


class TestAServerThatMisbehaves:
    """It costs bounded time, and says nothing of tokens."""

    @pytest.mark.parametrize(
        "fault",
        [
            Fault(503, times=2),
            Fault(429, {"Retry-After": "0"}, times=1),
            Fault(act="cut", times=1),
            Fault(act="reset", times=1),
        ],
        ids=["503", "429", "cut", "reset"],
    )
    def test_what_passes_is_asked_again(self, fault: Fault, gitlab: FakeGitLab, tmp_path: Path) -> None:
        gitlab.faults = [fault]
        found, _ = fetched(job(gitlab), tmp_path)
        assert found is not None
        assert found.taken, found.sentence

    @pytest.mark.parametrize(
        ("fault", "said"),
        [
            (Fault(429, {"Retry-After": "3600"}), "429 Too Many Requests"),
            (Fault(500), "500 Internal Server Error"),
            (Fault(522, page="<html>"), "status 522"),
            (Fault(418), "418"),
            (Fault(206), "206 Partial Content"),
            (Fault(act="reset"), "no whole answer"),
            (Fault(act="cut"), "no whole answer"),
            (Fault(act="stall"), "no whole answer within"),
            (Fault(act="drip"), "no whole answer within"),
            (Fault(act="flood"), f"larger than {travel.MAX_BYTES} bytes"),
            (Fault(302), "redirects to no address"),
            (Fault(302, {"Location": "file:///etc/passwd"}), "redirects to no address"),
            (Fault(302, {"Location": "http://host:port/"}), "no whole answer"),
            (Fault(302, {"Location": "?again=1"}), "redirects again and again"),
        ],
        ids=[
            *("an hour", "500", "of a proxy", "a teapot", "a part", "reset", "cut", "stall", "drip", "flood"),
            *("nowhere", "to a file", "to nonsense", "in circles"),
        ],
    )
    def test_what_does_not_pass_is_given_up_in_bounded_time(
        self, fault: Fault, said: str, gitlab: FakeGitLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if fault.act in {"stall", "drip"}:
            monkeypatch.setattr(gitlab_transport, "TIMEOUT", 0.5)
        gitlab.faults = [fault]
        started = time.monotonic()
        found, there = fetched(job(gitlab), tmp_path)
        assert time.monotonic() - started < 60, "bounded by gitlab_artifacts.BUDGET on the slowest machine, too"
        assert found is not None
        assert found.trouble
        assert said in found.sentence
        assert JOB_TOKEN not in found.sentence
        assert there == []

    def test_a_server_that_is_away_is_said(self, tmp_path: Path) -> None:
        found, _ = fetched(job(None, api_url="http://127.0.0.1:1/api/v4"), tmp_path)
        assert found is not None
        assert "ConnectError" in found.sentence

    @pytest.mark.parametrize("url", ["ftp://gitlab.example/api/v4", "gitlab", "http://gitlab.example:x"])
    def test_an_address_that_is_none_is_said(self, url: str, tmp_path: Path) -> None:
        found, _ = fetched(job(None, api_url=url), tmp_path)
        assert found is not None
        assert "cannot be asked from this job" in found.sentence

    @pytest.mark.parametrize("token", ["job…token", "job\ntoken"], ids=["no latin letter", "line end"])
    def test_a_token_that_cannot_be_sent_is_not_told(
        self, token: str, gitlab: FakeGitLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CI_JOB_TOKEN", token)
        found, _ = fetched(job(gitlab), tmp_path)
        assert found is not None
        assert "cannot be asked from this job" in found.sentence
        assert "token" not in found.sentence


class TestRedirections:
    """An object storage is shown no token, which it would refuse, and which is none of its business."""

    def test_a_signed_address_is_followed_without_the_token(self, gitlab: FakeGitLab, tmp_path: Path) -> None:
        with running_storage(GOOD) as storage:
            gitlab.faults = [Fault(302, {"Location": storage.url}, only="/artifacts/")]
            found, _ = fetched(job(gitlab), tmp_path)
        assert found is not None
        assert found.taken, found.sentence
        assert not {"JOB-TOKEN", "PRIVATE-TOKEN", "Authorization"} & set(storage.seen[0])

    def test_the_same_server_sees_the_token_again(self, gitlab: FakeGitLab, tmp_path: Path) -> None:
        where = f"/api/v4/projects/{PROJECT}/jobs/artifacts/main/raw/{FILE}?job=inspect"
        gitlab.faults = [Fault(301, {"Location": where}, times=1)]
        found, _ = fetched(job(gitlab), tmp_path)
        assert found is not None
        assert found.taken, found.sentence

    def test_who_was_sent_back_by_another_server_shows_no_token(self, gitlab: FakeGitLab, tmp_path: Path) -> None:
        with running_storage(GOOD) as storage:
            storage.location = f"{api_url(gitlab)}/projects/{PROJECT}/jobs/artifacts/main/raw/{FILE}?job=inspect"
            gitlab.faults = [Fault(302, {"Location": storage.url}, times=1)]
            found, _ = fetched(job(gitlab), tmp_path)
        assert found is not None
        assert found.sentence.endswith("401 Unauthorized")
        assert "JOB-TOKEN" not in requests(gitlab)[-1]

    def test_a_failure_behind_a_redirection_tells_no_signature(self, gitlab: FakeGitLab, tmp_path: Path) -> None:
        with running_storage(GOOD) as storage:
            url = storage.url
        gitlab.faults = [Fault(302, {"Location": url})]
        found, _ = fetched(job(gitlab), tmp_path)
        assert found is not None
        assert found.trouble
        assert "secret-signature" not in found.sentence


class TestLeaving:
    """A pipeline of the default branch leaves a file for others."""

    def test_others_take_that_of_this_tree_and_the_newest_in_their_order(
        self, gitlab: FakeGitLab, tmp_path: Path
    ) -> None:
        data = left(*(snapshot(f"sha256-{name}") for name in ("main", "2", "3", "4", "5", "6")))
        gitlab.archives.append(Archive("main", "inspect", {FILE: data}))
        assert [one.tree.tree for one in fetched(job(gitlab), tmp_path)[1]] == [
            f"sha256-{name}" for name in ("main", "6", "5", "4")
        ]

    def test_it_does_not_depend_on_when_it_is_left(self) -> None:
        assert left(snapshot()) == left(snapshot())

    def test_what_is_too_large_together_is_left_in_part(
        self, gitlab: FakeGitLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tarfile, "RECORDSIZE", tarfile.BLOCKSIZE)
        monkeypatch.setattr(travel, "MAX_BYTES", len(left(snapshot(), snapshot("sha256-2"))))
        data = left(snapshot(), snapshot("sha256-2"), snapshot("sha256-3"))
        gitlab.archives.append(Archive("main", "inspect", {FILE: data}))
        assert [one.tree.tree for one in fetched(job(gitlab), tmp_path)[1]] == ["sha256-main", "sha256-3"]

    @pytest.mark.parametrize(
        ("more", "remembers"),
        [
            ({"branch": "topic"}, True),
            ({"branch": None, "tag": "main"}, True),
            ({"branch": "main", "gitlab": False}, True),
            ({"branch": "main"}, False),
            ({"branch": "main"}, None),
        ],
        ids=["a branch", "a tag", "a laptop", "nothing is remembered yet", "nothing is to be remembered"],
    )
    def test_others_leave_nothing(self, more: dict[str, Any], remembers: bool | None, tmp_path: Path) -> None:
        memo = memo_in(tmp_path)
        if remembers:
            memo.store.save(snapshot())
        given = memo if remembers is not None else None
        assert memo_to_leave(job(None, **more), given, source("sha256-main")) == (None, None)

    def test_what_is_too_large_is_not_left(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        memo = memo_in(tmp_path)
        memo.store.save(snapshot())
        monkeypatch.setattr(travel, "MAX_BYTES", 10)
        data, trouble = memo_to_leave(job(None, branch="main"), memo, source("sha256-main"))
        assert data is None
        assert trouble is not None
        assert "more than 10" in trouble
