"""Derivations as text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen.inventory.aterm import ATermError, parse_derivation

PATH = "/nix/store/r532vp2incfrd7g6jxx1gi1hzq72rp5g-app-1.0.drv"
OUT = "/nix/store/fgyhb8kr287ig321pxbr7q56h3k8dj10-app-1.0"
LIB = "/nix/store/zfr39wpnwpnlgfhika4fg62s5lfiq29l-lib.drv"
SEEN = (
    f'Derive([("dev","{OUT}-dev","",""),("out","{OUT}","","")],[("{LIB}",["dev","out"])],'
    '["/nix/store/5l32q46y9cd1l90wjjhm81ycgx354z24-source"],"x86_64-linux","/bin/sh",["-c","echo \\"hi\\" > $out"],'
    f'[("builder","/bin/sh"),("name","app-1.0"),("out","{OUT}"),("preferLocalBuild","1"),("system","x86_64-linux")])'
)


def quoted(text: str) -> str:
    for character, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(character, escape)
    return f'"{text}"'


def written(environment: dict[str, str], *, arguments: list[str] | None = None, system: str = "x") -> str:
    """As Nix writes it."""
    variables = ",".join(f"({quoted(name)},{quoted(value)})" for name, value in sorted(environment.items()))
    listed = ",".join(map(quoted, arguments or []))
    return f'Derive([("out","{OUT}","","")],[],[],{quoted(system)},"/bin/sh",[{listed}],[{variables}])'


def test_a_derivation_is_read() -> None:
    derivation = parse_derivation(PATH, SEEN)
    assert derivation.name == "app-1.0"
    assert derivation.system == "x86_64-linux"
    assert derivation.outputs == {"dev": f"{OUT}-dev", "out": OUT}
    assert derivation.inputs == {LIB: ("dev", "out")}
    assert derivation.prefer_local
    assert derivation.allow_substitutes
    assert not derivation.fixed_output


@pytest.mark.parametrize(
    ("output", "path", "fixed"),
    [
        (f'("out","{OUT}","sha256","e3b0")', OUT, True),
        (f'("out","{OUT}","r:sha256","e3b0")', OUT, True),
        ('("out","","r:sha256","")', None, False),
        ('("out","","r:sha256","impure")', None, False),
        ('("out","","","")', None, False),
    ],
    ids=["flat-hash", "recursive-hash", "floating", "impure", "above-floating"],
)
def test_outputs_may_be_fixed_or_not_known(output: str, path: str | None, fixed: bool) -> None:
    text = f'Derive([{output}],[],[],"x","/bin/sh",[],[("name","x")])'
    derivation = parse_derivation(PATH, text)
    assert derivation.outputs == {"out": path}
    assert derivation.fixed_output is fixed


def test_inputs_that_are_made_by_derivations_are_read() -> None:
    text = (
        f'DrvWithVersion("xp-dyn-drv",[("out","","r:sha256","")],[("{LIB}",(["dev"],[("out",["a",")]"])])),'
        f'("{LIB}2",([],[("out",(["x"],[("y",["z"])]))])),("{LIB}3",["out"])],[],"x","/bin/sh",[],[("name","x")])'
    )
    derivation = parse_derivation(PATH, text)
    assert set(derivation.inputs) == {LIB, f"{LIB}2", f"{LIB}3"}
    assert derivation.inputs[LIB] == ("dev", "out")
    assert derivation.inputs[f"{LIB}3"] == ("out",)


@given(st.dictionaries(st.text(), st.text()), st.lists(st.text()), st.text())
def test_no_text_in_the_environment_or_arguments_is_taken_for_a_setting(
    environment: dict[str, str], arguments: list[str], system: str
) -> None:
    for name in ("__json", "requiredSystemFeatures", "preferLocalBuild", "allowSubstitutes"):
        environment.pop(name, None)
    trap = '),("preferLocalBuild","1"),("requiredSystemFeatures","kvm"),("__json","{}")'
    environment = environment | {"name": trap, "trap": quoted(trap), trap: trap}
    derivation = parse_derivation(PATH, written(environment, arguments=[*arguments, trap], system=system))
    assert (derivation.features, derivation.prefer_local, derivation.allow_substitutes) == ((), False, True)
    assert derivation.system == system


@given(
    st.sets(st.text(alphabet=st.characters(exclude_categories=("Z", "C")), min_size=1)), st.booleans(), st.booleans()
)
def test_settings_are_read(features: set[str], prefer: bool, allow: bool) -> None:
    plain = {
        "requiredSystemFeatures": " ".join(sorted(features)),
        "preferLocalBuild": "1" if prefer else "",
        "allowSubstitutes": "1" if allow else "",
    }
    structured = {
        "requiredSystemFeatures": sorted(features),
        "preferLocalBuild": prefer,
        "allowSubstitutes": allow,
    }
    for environment in (
        plain,
        {"__json": json.dumps(structured)},
        {"__json": json.dumps(structured, ensure_ascii=False)},
    ):
        derivation = parse_derivation(PATH, written(environment))
        assert derivation.features == tuple(sorted(features))
        assert (derivation.prefer_local, derivation.allow_substitutes) == (prefer, allow)


@pytest.mark.parametrize(
    "text",
    ["", "Derive", "hello", SEEN[:-1], SEEN[:60], SEEN.replace('["dev","out"]', "7"), written({"__json": "{"})],
)
def test_what_is_no_derivation_is_refused(text: str) -> None:
    with pytest.raises(ATermError):
        parse_derivation(PATH, text)
