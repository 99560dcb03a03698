"""Documentation that cannot drift from the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pipelinegen import config_file, reference

ROOT = Path(__file__).parents[2]
PAGES = reference.pages()


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_are_what_the_code_says(name: str) -> None:
    assert (ROOT / "docs" / "reference" / name).read_text("utf-8") == PAGES[name], "run `make docs`"


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/**/*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_in_the_list_of_pages() -> None:
    docs = ROOT / "docs"
    listed = set(re.findall(r"\]\(([^)#:]+)\)", (docs / "README.md").read_text("utf-8")))
    pages = {path.relative_to(docs).as_posix() for path in docs.glob("*/*") if path.suffix != ".svg"}
    assert pages == listed


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/**/*.md")), ids=lambda page: page.name)
def test_configuration_in_the_documentation_is_sound(page: Path) -> None:
    import tomllib

    for block in re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        config_file.parse(tomllib.loads(block))


def test_yaml_in_the_documentation_parses() -> None:
    for page in ROOT.glob("docs/**/*.md"):
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            assert yaml.safe_load(block)


def test_the_readme_is_short_and_shows_a_command_early() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 120
    assert any(line.startswith(("$ ", "make ", "    make")) for line in lines[:30])
