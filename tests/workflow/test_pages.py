"""README and docs: short, with links, commands and numbers that hold."""

import re
from pathlib import Path

import pytest
from conftest import ROOT
from weightspace.table import read_table

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "config/README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_readme_is_about_a_hundred_lines() -> None:
    assert len(README.splitlines()) <= 110


def test_commands_of_make_are_its_targets() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for page in PAGES:
        said = re.findall(r"(?:^    |`)make ([a-z-]+)", page.read_text(), flags=re.MULTILINE)
        assert set(said) <= targets, page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page: Path) -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)[)#]", page.read_text()):
        assert (page.parent / link).exists(), link


def test_rows_that_the_readme_shows_are_kept() -> None:
    columns = ["stage", "cell", "seed", "split", "subject", "metric"]
    shown = [line.strip("| ").split(" | ") for line in README.split(f"| {' | '.join(columns)} | value |")[1].splitlines()[2:]]
    kept = read_table(ROOT / "results/reference/digits/metrics.parquet").to_pandas()
    kept = kept.astype(dict.fromkeys(columns, str)).set_index(columns)["value"]
    rows = [row for row in shown if len(row) == 7]
    assert len(rows) > 3
    for *key, value in rows:
        assert kept.loc[tuple(key)] == pytest.approx(float(value), rel=0.05), key
