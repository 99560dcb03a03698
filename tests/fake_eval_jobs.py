"""A stand-in for `nix-eval-jobs`, written from its documented protocol, that misbehaves when told to.

It takes the options of nix-eval-jobs that are used and refuses others, evaluates each job by the real Nix in a
process of its own, and prints what `src/drv.cc` and `src/worker.cc` of nix-community/nix-eval-jobs print: for a
derivation `attr`, `attrPath`, `name`, `system`, `drvPath`, `outputs` and `meta`; for a failure `attr`, `attrPath`
and `error`; nothing for what is no derivation.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

WAY = "FAKE_EVAL_JOBS"
"""Environment variable: how to misbehave."""


def main() -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--extra-experimental-features")
    parser.add_argument("--log-format", choices=["internal-json"])
    parser.add_argument("--workers", type=int)
    parser.add_argument("--max-memory-size", type=int)
    parser.add_argument("--meta", action="store_true")
    parser.add_argument("--impure", action="store_true")
    parser.add_argument("--option", nargs=2, action="append")
    parser.add_argument("--expr", action="store_true")
    parser.add_argument("expression")
    arguments = parser.parse_args()
    if not arguments.expr:
        return 1
    options = [word for name, value in arguments.option for word in ("--option", name, value)]
    names = evaluate(f"builtins.attrNames ({arguments.expression})", options)
    if isinstance(names, str):
        log(names)
        return 1
    way = os.environ.get(WAY, "")
    # As the set of what is to be done is ordered there: n0, n1, n10, n11, n2, …
    for number, name in enumerate(sorted(names)):
        if number == len(names) // 2:
            if way == "dies":
                log("error: while reading result for attrPath 'n7', evaluation worker got killed by SIGKILL")
                return 1
            if way == "hangs":
                time.sleep(1000)
        job = evaluate(
            f"let job = ({arguments.expression}).{name}; in if job.type or null == ''derivation'' "
            "then { inherit (job) drvPath name system meta; } else { }",
            options,
        )
        record: dict[str, Any] = {"attr": name, "attrPath": [name]}
        if isinstance(job, str) or way == "only errors":
            record["error"] = job if isinstance(job, str) else "error: no"
        elif not job:
            continue
        else:
            record |= {**job, "outputs": {}, "meta": job["meta"] if arguments.meta else None}
            if way == "another Nix":
                record["meta"]["pipelinegen"]["nix"] = "1.2.3"
            if way == "lies":
                record["drvPath"] = record["drvPath"].replace("-", "-other-", 1)
        line = json.dumps(record)
        if way == "is cut off" and number == len(names) - 1:
            sys.stdout.write(line[:-20])
            return 1
        sys.stdout.write(f"{line}\n" if way != "talks" else f"warning: x\n[1]\nnull\n{line}\n")
        sys.stdout.flush()
    return 0


def evaluate(expression: str, options: list[str]) -> Any:
    """The value, or the error as text."""
    command = ["nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode", *options, "-E", expression]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(ended.stdout) if ended.returncode == 0 else ended.stderr


def log(message: str) -> None:
    """A line in Nix's `internal-json` format."""
    sys.stderr.write("@nix " + json.dumps({"action": "msg", "level": 0, "msg": message, "raw_msg": message}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
