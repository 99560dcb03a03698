"""The table of what can happen, in the documentation, is the table that the tests on real machines show."""

from __future__ import annotations

from pathlib import Path

from tests.lab import test_deploy, test_deploy_broken_off
from tests.lab.scenarios import SCENARIOS, SHOWN, Scenario

PAGE = Path(__file__).parents[3] / "docs" / "concepts" / "deployment.md"


def row(scenario: Scenario) -> str:
    result = f"`{scenario.result}`" if scenario.result else "none"
    killed = scenario.code is None
    cells = (scenario.name, scenario.runs, scenario.boots, f"{result}{' (1)' if killed else ''}")
    return f"| {' | '.join(cells)} | {'' if killed else scenario.code} |"


def test_the_documentation_has_a_row_for_each_scenario_and_no_other() -> None:
    lines = PAGE.read_text("utf-8").splitlines()
    start = lines.index("| what happens | runs | next boot | result | exit code |") + 2
    rows = lines[start : lines.index("", start)]
    assert rows == [row(scenario) for scenario in SCENARIOS]


def test_each_scenario_is_shown_by_some_test() -> None:
    assert test_deploy.pytestmark
    assert test_deploy_broken_off.pytestmark
    # Those that a test names in its body are known when it ran.
    in_bodies = {
        *("a system that works", "the system that runs already"),
        *("of two deployments at once, the first", "of two deployments at once, the second"),
    }
    assert {scenario.name for scenario in SCENARIOS} - SHOWN <= in_bodies
