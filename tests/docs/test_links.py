"""The pages lead somewhere: every relative link names a file, and every `make` target exists."""

import re

import pytest

from common.files.paths import REPO

PAGES = sorted(
    path for path in [*REPO.glob("*.md"), *REPO.glob("docs/**/*.md"), *REPO.glob("benchmarks/*.md"),
                      *REPO.glob("examples/*/*.md")]
)  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(REPO)))
def test_links_lead_to_files(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    local = [target.split("#")[0] for target in targets if "://" not in target and not target.startswith("#")]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(REPO)))
def test_make_targets_exist(page):
    targets = set(re.findall(r"^(\w+):", (REPO / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    blocks = re.findall(r"`(make [a-z]+)|^(make [a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert {(a or b).split()[1] for a, b in blocks} <= targets
