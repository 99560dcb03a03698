"""The walk from the targets down to what caches hold."""

from __future__ import annotations

from collections.abc import Iterable

from pipelinegen.cache.model import Answers, Availability
from pipelinegen.inventory.model import Derivation
from pipelinegen.plan import to_build
from tests.factory import Fleet


def caches(**held: Answers) -> to_build.Ask:
    def ask(paths: Iterable[str]) -> Availability:
        return Availability(caches=dict(held), trusted=tuple(held))

    return ask


def walk(fleet: Fleet, *targets: Derivation, ask: to_build.Ask, wanted: str = "out") -> to_build.ToBuild:
    return to_build.find(
        {drv.path: {wanted} for drv in targets}, lambda paths: {path: fleet.graph[path] for path in paths}, ask
    )


def path(derivation: Derivation, output: str = "out") -> str:
    found = derivation.outputs[output]
    assert found is not None
    return found


def test_without_caches_the_whole_closure_is_built() -> None:
    fleet = Fleet()
    lib = fleet.drv("lib")
    app = fleet.drv("app", lib)
    assert walk(fleet, app, ask=caches()).builds == {app.path: {"out"}, lib.path: {"out"}}


def test_inputs_of_what_a_cache_holds_are_not_looked_at() -> None:
    fleet = Fleet()
    lib = fleet.drv("lib")
    app = fleet.drv("app", lib)
    found = walk(fleet, app, ask=caches(main={path(app): True}))
    assert found.builds == {}
    assert lib.path not in found.graph


def test_an_unknown_answer_means_build() -> None:
    fleet = Fleet()
    app = fleet.drv("app")
    assert walk(fleet, app, ask=caches(main={path(app): None})).builds == {app.path: {"out"}}


def test_any_trusted_cache_will_do() -> None:
    fleet = Fleet()
    app = fleet.drv("app")
    assert walk(fleet, app, ask=caches(one={path(app): False}, two={path(app): True})).builds == {}


def test_an_output_that_nobody_names_need_not_be_anywhere() -> None:
    fleet = Fleet()
    lib = fleet.drv("lib", outputs=("out", "doc"))
    app = fleet.drv("app", lib)
    assert walk(fleet, app, ask=caches(main={path(lib): True})).builds == {app.path: {"out"}}


def test_an_output_named_later_turns_an_available_derivation_into_one_to_build() -> None:
    fleet = Fleet()
    base = fleet.drv("base")
    lib = fleet.drv("lib", base, outputs=("out", "doc"))
    middle = fleet.drv("middle", lib, uses="doc")
    top = fleet.drv("top", lib, middle)
    top = top.model_copy(update={"inputs": {lib.path: ("out",), middle.path: ("out",)}})
    fleet.graph[top.path] = top
    found = walk(fleet, top, ask=caches(main={path(lib): True, path(lib, "doc"): False}))
    assert found.builds[lib.path] == {"out", "doc"}
    assert base.path in found.builds


def test_content_addressed_derivations_are_built_since_no_cache_can_be_asked() -> None:
    fleet = Fleet()
    app = fleet.drv("app", content_addressed=True)
    assert walk(fleet, app, ask=caches(main={})).builds == {app.path: {"out"}}
