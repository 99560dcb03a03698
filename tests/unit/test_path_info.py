"""What the versions of Nix print of paths, recorded; all of it becomes the same values."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen import path_info
from pipelinegen.errors import ToolError
from pipelinegen.path_info import PathInfo

STORE = "/nix/store"
APP = f"{STORE}/i3yx972vlkcfq24px1l9qbnl6mriwafn-app"
APP_DRV = f"{STORE}/fg50hkakil8a458y3xhipq4szd3nfhyc-app.drv"
LIB = f"{STORE}/zgg9y6w3zccw224n1ryhn89302z4dqlc-lib"
FIXED = f"{STORE}/bv2gc89nlrk9wj0466kcaddbs1whf2cm-fixed"
FIXED_DRV = f"{STORE}/9n3z94dy6fp995467xkby9253n4h2d3l-fixed.drv"
ABSENT = f"{STORE}/00000000000000000000000000000000-x"
APP_HASH = "sha256-KGeE4XqEHR8n4IJitocFa9YSqQ1+5LVEOT3ZyrHS/5Y="
FIXED_HASH = "sha256-IlLUt4yU6Mes5OMxe3i9/mS8jjlwpk620vfCpEPAw/w="
SIGNATURE = "k-1:Sx9r5zRNm4cAQ0JtKGUpcC2W4kXdjMFj3RDkkb9j6rm013dwfcPXWBlbo+BG1C94gofdurtk1amrNSUb4EQABg=="
FIXED_CA = "fixed:sha256:193s6bfb4ncbr0d3rpb177cac43b2z2h3afxi7grcswgci346hwg"

EXPECTED = {
    APP: PathInfo(
        path=APP,
        nar_hash="sha256:286784e17a841d1f27e08262b687056bd612a90d7ee4b544393dd9cab1d2ff96",
        nar_size=272,
        references=(APP, LIB),
        deriver=APP_DRV,
        signatures=(SIGNATURE,),
    ),
    FIXED: PathInfo(
        path=FIXED,
        nar_hash="sha256:2252d4b78c94e8c7ace4e3317b78bdfe64bc8e3970a64eb6d2f7c2a443c0c3fc",
        nar_size=120,
        deriver=FIXED_DRV,
        ca=FIXED_CA,
    ),
    ABSENT: None,
}

NIX_2_8 = [
    {"path": ABSENT, "valid": False},
    {
        "path": APP,
        "narHash": APP_HASH,
        "narSize": 272,
        "references": [APP, LIB],
        "deriver": APP_DRV,
        "registrationTime": 1795420229,
        "ultimate": True,
        "signatures": [SIGNATURE],
    },
    {
        "path": FIXED,
        "narHash": FIXED_HASH,
        "narSize": 120,
        "references": [],
        "ca": FIXED_CA,
        "deriver": FIXED_DRV,
        "url": "nar/0g0ssavkvgjfrghal7p8p0gy0bssv0szb2q8v8119mjbmmcqcrg5.nar.xz",
        "downloadHash": "sha256-5WWGWa1L1hQC2giL9TXYWi/gH7joHqrgy06+PbfSGjw=",
        "downloadSize": 124,
    },
]

NIX_2_26: dict[str, dict[str, object] | None] = {
    ABSENT: None,
    APP: {
        "ca": None,
        "deriver": APP_DRV,
        "narHash": APP_HASH,
        "narSize": 272,
        "references": [APP, LIB],
        "registrationTime": 1795420229,
        "signatures": [SIGNATURE],
        "ultimate": True,
    },
    FIXED: {
        "ca": FIXED_CA,
        "deriver": FIXED_DRV,
        "narHash": FIXED_HASH,
        "narSize": 120,
        "references": [],
        "registrationTime": None,
        "signatures": [],
        "ultimate": False,
    },
}

NIX_2_34 = {path: record and {**record, "storeDir": STORE, "version": 1} for path, record in NIX_2_26.items()}

NIX_2_34_FORMAT_2 = {
    "info": {
        ABSENT.rpartition("/")[2]: None,
        APP.rpartition("/")[2]: {
            "ca": None,
            "deriver": APP_DRV.rpartition("/")[2],
            "narHash": APP_HASH,
            "narSize": 272,
            "references": [APP.rpartition("/")[2], LIB.rpartition("/")[2]],
            "registrationTime": 1795420229,
            "signatures": [SIGNATURE],
            "storeDir": STORE,
            "ultimate": True,
            "version": 2,
        },
        FIXED.rpartition("/")[2]: {
            "ca": {"hash": "sha256-j0NDRmSPa5bfid2pAcUXaxCm2Dlh3TwayItZstwyeqQ=", "method": "flat"},
            "deriver": FIXED_DRV.rpartition("/")[2],
            "narHash": {"algorithm": "sha256", "format": "base64", "hash": FIXED_HASH.removeprefix("sha256-")},
            "narSize": 120,
            "references": [],
            "registrationTime": None,
            "signatures": [],
            "storeDir": STORE,
            "ultimate": False,
            "version": 2,
        },
    },
    "storeDir": STORE,
    "version": 2,
}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(NIX_2_8, id="2.8"),
        pytest.param(NIX_2_26, id="2.26"),
        pytest.param(NIX_2_34, id="2.34"),
        pytest.param(NIX_2_34_FORMAT_2, id="2.34-format-2"),
    ],
)
def test_all_versions_say_the_same(answer: object) -> None:
    assert path_info.parse(json.dumps(answer)) == EXPECTED


def test_a_path_is_among_its_references_and_not_among_the_others() -> None:
    app = EXPECTED[APP]
    assert app is not None
    assert app.references == (APP, LIB)
    assert app.others == (LIB,)


@pytest.mark.parametrize(
    ("method", "start"),
    [("text", "text:sha256:"), ("flat", "fixed:sha256:"), ("nar", "fixed:r:sha256:"), ("git", "fixed:git:sha256:")],
)
def test_each_way_to_be_named_by_content_is_written_as_in_narinfo_files(method: str, start: str) -> None:
    record = dict(NIX_2_34_FORMAT_2["info"][FIXED.rpartition("/")[2]])  # type: ignore[index]
    record["ca"] = {**record["ca"], "method": method}
    answer = {**NIX_2_34_FORMAT_2, "info": {"x": record}}
    info = path_info.parse(json.dumps(answer))[f"{STORE}/x"]
    assert info is not None
    assert info.ca == start + FIXED_CA.rpartition(":")[2]


@pytest.mark.parametrize(
    "text",
    ["", "<html>", "7", '{"/nix/store/x": {}}', '[{"valid": true}]', '{"/nix/store/x": {"narHash": "sha256-?"}}'],
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(ToolError, match="nix path-info does not answer as expected"):
        path_info.parse(text)


@pytest.mark.parametrize(
    "written",
    [
        "sha256-j0NDRmSPa5bfid2pAcUXaxCm2Dlh3TwayItZstwyeqQ=",
        "sha256:j0NDRmSPa5bfid2pAcUXaxCm2Dlh3TwayItZstwyeqQ=",
        "sha256:193s6bfb4ncbr0d3rpb177cac43b2z2h3afxi7grcswgci346hwg",
        "sha256:8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4",
        {"algorithm": "sha256", "format": "nix32", "hash": "193s6bfb4ncbr0d3rpb177cac43b2z2h3afxi7grcswgci346hwg"},
    ],
    ids=["sri", "base64", "base32", "base16", "object"],
)
def test_a_hash_is_read_in_every_form(written: str | dict[str, str]) -> None:
    assert path_info.sha256(written) == "sha256:8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4"


@pytest.mark.parametrize(
    "written",
    [
        "sha256:",
        "sha256-AAAA",
        "sha256:" + "e" * 52,
        "sha256:" + "z" * 52,
        "sha256:" + "g" * 64,
        "md5:9dd4e461268c8034f5c8564e155c67a6",
    ],
    ids=["empty", "short", "no-digit", "too-large", "no-hex", "md5"],
)
def test_what_is_no_sha256_is_refused(written: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # each has words of its own
        path_info.sha256(written)


@given(st.binary(max_size=70))
def test_base_32_is_read_as_it_was_written(data: bytes) -> None:
    assert path_info.from_base32(path_info.to_base32(data), len(data)) == data


def info(path: str, *references: str) -> PathInfo:
    return PathInfo(path=path, nar_hash="", nar_size=0, references=references)


@given(st.permutations([info("d", "b", "c"), info("b", "a", "b"), info("c", "a"), info("a"), info("e", "elsewhere")]))
def test_what_a_path_refers_to_comes_before_it_in_one_order(infos: list[PathInfo]) -> None:
    order = [one.path for one in path_info.references_first(infos)]
    assert order == ["a", "e", "b", "c", "d"]
