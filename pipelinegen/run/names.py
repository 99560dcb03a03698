"""What a person or a job file calls a piece of work, found in the plan's work or the configuration. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pipelinegen.config import Config, TestConfig
from pipelinegen.errors import UsageError
from pipelinegen.plan.model import Failure, Unit, Work


def find_unit_by_name(work: Work, stage: str, name: str) -> Unit:
    """The unit whose job is `name` or `<stage> <name>`, else the one that finishes the target `name`.

    Raises:
        UsageError: there is none; close matches are offered.
    """
    by_job = {unit.job: unit for unit in work.units}
    for job in (name, f"{stage} {name}"):
        if job in by_job:
            return by_job[job]
    # Two attributes with one derivation are one unit, named after the first.
    for unit in work.units:
        if name in unit.targets:
            return unit
    known = [job.removeprefix(f"{stage} ") for job in by_job]
    raise UsageError(f"the plan has no {stage} {name!r}", hint=hint(name, known, "nothing is to be built"))


def find_test(config: Config, name: str) -> TestConfig:
    """The integration command of that name.

    Raises:
        UsageError: there is none; close matches are offered.
    """
    for test in config.tests:
        if test.name == name:
            return test
    known = [test.name for test in config.tests]
    raise UsageError(f"the configuration has no test {name!r}", hint=hint(name, known, "it has no [[tests]]"))


def find_failure(work: Work, attr: str) -> Failure:
    """The output `attr`, which did not evaluate.

    Raises:
        UsageError: it is not in the handoff.
    """
    for failure in work.failures:
        if failure.attr == attr:
            return failure
    known = [failure.attr for failure in work.failures]
    raise UsageError(f"{attr!r} did not fail to evaluate", hint=hint(attr, known, "everything evaluated"))


def hint(name: str, known: Iterable[str], none: str) -> str:
    """What was perhaps meant by `name`, else what there is; `none` where there is nothing."""
    listed = list(known)
    close = difflib.get_close_matches(name, listed, n=3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"there is: {', '.join(listed[:10])}" if listed else none
