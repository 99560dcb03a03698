"""Random closures against random faults, over real HTTP: everything is there, or the report names what is not."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from pipelinegen import nar
from pipelinegen.cache.attic import loop
from pipelinegen.cache.attic.client import AtticClient
from pipelinegen.cache.attic.protocol import address
from pipelinegen.cache.attic.push import find_missing, send_missing
from pipelinegen.cache.attic.refusals import RefusedError
from pipelinegen.cache.attic.retry import Backoff
from pipelinegen.cache.attic.upload import Limits
from pipelinegen.cache.model import Outcome, PathReport
from pipelinegen.path_info import BASE32, PathInfo
from tests.attic_server import (
    AtticServer,
    Cut,
    Endpoint,
    Fault,
    HangUp,
    Latency,
    Lose,
    Reply,
    Reset,
    Stall,
    attic_server,
)

ACTIONS = (
    Reply(500),
    Reply(502, form="html"),
    Reply(413, form="html"),
    Reply(429, form="html", retry_after="0"),
    Reply(403),
    Reply(401),
    Reply(400, text="General request error: Bad NAR Hash or Size"),
    Reply(200, form="text", text="ok"),
    Reset("head"),
    Reset("body", after=20),
    Reset("answer"),
    Reset("stored"),
    Lose(),
    Stall("answer", seconds=3),
    Cut(after=10),
    Lose(),
    HangUp(),
    Latency(0.01),
)


@dataclass(frozen=True)
class Scene:
    """References by number (lower numbers only), sizes, and what goes wrong: endpoint, path, first and last try."""

    references: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...]
    faults: tuple[tuple[Endpoint, int, int, int, int], ...]
    jobs: int
    present: frozenset[int]


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    count = draw(st.integers(1, 10))
    numbers = range(count)
    return Scene(
        references=tuple(
            tuple(draw(st.lists(st.integers(0, n - 1), max_size=3, unique=True))) if n else () for n in numbers
        ),
        sizes=tuple(draw(st.sampled_from([0, 1, 300, 70_000])) for _ in numbers),
        faults=tuple(
            draw(
                st.lists(
                    st.tuples(
                        st.sampled_from([Endpoint.UPLOAD, Endpoint.UPLOAD, Endpoint.UPLOAD, Endpoint.MISSING]),
                        st.integers(0, count - 1),
                        st.integers(0, len(ACTIONS) - 1),
                        st.sampled_from([1, 1, 2, 3]),
                        st.integers(1, 4),
                    ),
                    min_size=1,
                    max_size=6,
                )
            )
        ),
        jobs=draw(st.integers(1, 4)),
        present=frozenset(draw(st.sets(st.integers(0, count - 1), max_size=2))),
    )


def write_paths(folder: Path, scene: Scene) -> list[PathInfo]:
    infos: list[PathInfo] = []
    for number, references in enumerate(scene.references):
        digest = hashlib.sha256(f"{number}".encode()).digest()
        name = "".join(BASE32[byte % 32] for byte in digest)
        path = folder / f"{name}-path-{number}-end"
        path.write_bytes(bytes([number]) * scene.sizes[number])
        content = b"".join(bytes(chunk) for chunk in nar.chunks(path))
        infos.append(
            PathInfo(
                path=str(path),
                nar_hash=f"sha256:{hashlib.sha256(content).hexdigest()}",
                nar_size=len(content),
                references=tuple(sorted(infos[one].path for one in references)),
            )
        )
    return infos


def push(server: AtticServer, infos: Sequence[PathInfo], jobs: int) -> dict[str, PathReport]:
    limits = Limits(
        jobs=jobs, attempts=3, deadline=time.monotonic() + 20, backoff=Backoff(base=0.002, cap=0.01), chance=lambda: 0.5
    )

    async def whole() -> dict[str, PathReport]:
        where = address(f"{server.url}ci")
        token = SecretStr(server.token({"ci": "r w"}))
        async with AtticClient(where, token, stall_timeout=1, answer_timeout=1) as client:
            missing = await find_missing(client, infos, limits, include_upstream=False, fixed=True)
            return await send_missing(missing, limits, lambda _: None)

    return loop.run(whole())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scene=scenes())
def test_either_it_is_there_or_the_report_names_it(scene: Scene) -> None:
    with tempfile.TemporaryDirectory() as folder, attic_server() as server:
        server.create_cache("ci", store_dir=folder)
        infos = write_paths(Path(folder), scene)
        push(server, [infos[number] for number in sorted(scene.present)], 1)
        for endpoint, number, action, first, last in scene.faults:
            path = f"-path-{number}-end" if endpoint is Endpoint.UPLOAD else None
            server.faults.add(
                Fault(ACTIONS[action], endpoint=endpoint, path=path, nth=list(range(first, max(first, last) + 1)))
            )
        try:
            reports = push(server, infos, scene.jobs)
        except RefusedError:
            assert any(fault[0] is Endpoint.MISSING for fault in scene.faults), "only a question may fail as a whole"
        else:
            there = server.objects("ci")
            good = {Outcome.PUSHED, Outcome.DEDUPLICATED, Outcome.PRESENT}
            said = {path for path, report in reports.items() if report.outcome in good}
            assert said <= there
            # What the server took and does not tell of afterwards counts as failed.
            unanswered = any(request.fault for request in server.asked(Endpoint.MISSING))
            assert unanswered or said == there & set(reports)
            assert set(reports) == {info.path for info in infos}
            assert all(report.message for report in reports.values() if report.outcome not in good)
        server.faults.clear()
        reports = push(server, infos, scene.jobs)
        assert server.objects("ci") == {info.path for info in infos}, "whatever happened, the next run completes it"
        assert not server.troubles
