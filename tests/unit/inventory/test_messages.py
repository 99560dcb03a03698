"""Error records of Nix 2.8, 2.26 and 2.34 as text for people."""

from __future__ import annotations

from pipelinegen.inventory.messages import LINES, STEPS, error_text, shorten_lines, shorten_paths

RED, END = "\x1b[31;1m", "\x1b[0m"

OF_2_8 = {
    "msg": f"{RED}error:{END} attribute 'z' missing\n\n"
    "       at /s/flake.nix:4:15:\n\n            4|   g = x: { y = 1; }.z;\n             |          ^\n"
    "       Did you mean y?\n\n       … while evaluating 'g'\n\n       at /s/flake.nix:4:12:\n",
    "raw_msg": "attribute 'z' missing",
    "file": "/s/flake.nix",
    "trace": [
        {"raw_msg": "while evaluating 'g'", "file": "/s/flake.nix", "line": 4, "column": 12},
        {"raw_msg": "from call site"},
        {"raw_msg": "while evaluating 'say'", "file": "let x = 1; in\nx", "line": 1, "column": 1},
    ],
}

OF_2_26 = {
    "msg": f"{RED}error:{END}\n       … while calling the 'foldl'' builtin\n         at «stdin»:122:23:\n\n"
    "       … while calling 'g'\n         at /s/flake.nix:4:12:\n\n"
    f"       {RED}error:{END} attribute 'z' missing\n       at /s/flake.nix:4:15:\n"
    "            4|   g = x: { y = 1; }.z;\n             |          ^\n       Did you mean y?",
    "raw_msg": "attribute 'z' missing",
    "file": "/s/flake.nix:4:15",
    "trace": [
        {"raw_msg": "while calling 'g'", "file": "/s/flake.nix:4:12", "line": 4, "column": 12},
        {"raw_msg": "", "file": "«none»:0"},
        {"raw_msg": "while calling the 'foldl'' builtin", "file": "«stdin»:122:23"},
    ],
}


def test_the_error_comes_first_and_then_the_way_from_the_inside() -> None:
    expected = [
        "error: attribute 'z' missing",
        "at /s/flake.nix:4:15:",
        "     4|   g = x: { y = 1; }.z;",
        "      |          ^",
        "Did you mean y?",
    ]
    old = [line for line in error_text(OF_2_8).splitlines() if line]
    assert old == [*expected, "… while evaluating 'g', at /s/flake.nix:4:12"]
    assert error_text(OF_2_26).splitlines() == [*expected, "… while calling 'g', at /s/flake.nix:4:12"]


def test_a_message_that_looks_like_an_error_inside_is_kept_whole() -> None:
    raw = "builder says:\nerror: inner\nlast"
    record = {
        "msg": "error:\n       … step\n\n       error: builder says:\n       error: inner\n       last",
        "raw_msg": raw,
    }
    assert error_text(record).splitlines() == ["error: builder says:", "error: inner", "last"]


def test_places_in_our_own_expressions_are_not_told() -> None:
    for file in ("«stdin»:12:3", "let outputs = 1;\nin outputs"):
        record = {"msg": "error: no x\n\n       at «stdin»:12:3:\n  12| ours", "raw_msg": "no x\nat all", "file": file}
        assert error_text(record) == "error: no x\nat all"


def test_long_errors_and_ways_are_cut_and_say_so() -> None:
    raw = "\n".join(f"line {number}" for number in range(200))
    trace = [{"raw_msg": f"while {number}", "file": f"/s/x.nix:{number}:1"} for number in range(100)]
    lines = error_text({"msg": f"error: {raw}", "raw_msg": raw, "trace": trace}).splitlines()
    assert lines[LINES] == f"(and {200 - LINES} lines more)"
    assert len(lines) == LINES + 1 + STEPS


def test_a_record_without_details_is_its_message() -> None:
    assert error_text({"msg": "error: out of memory"}) == "error: out of memory"


def test_files_of_the_flake_are_named_as_in_the_repository() -> None:
    tree = "/nix/store/abc-source"
    fetched = "«file:///source.tar.gz?narHash=sha256-x%3D»"
    text = f"at {tree}/sub/x.nix:1:2, {fetched}/flake.nix:3:4, /nix/store/other-source/y.nix"
    assert shorten_paths(text, tree) == "at sub/x.nix:1:2, flake.nix:3:4, /nix/store/other-source/y.nix"


def test_a_line_that_nobody_reads_is_cut() -> None:
    assert [len(line) for line in shorten_lines("x" * 100_000 + "\nshort").splitlines()] == [400, 5]
