"""The version is the same wherever it stands, and the citation file is one."""

import re

import yaml

import common
from common.files.paths import REPO

CITATION = yaml.safe_load((REPO / "CITATION.cff").read_text(encoding="utf-8"))


def test_changelog_citation_and_package_have_one_version_and_date():
    changelog = (REPO / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$", changelog, re.MULTILINE)
    assert releases[0] == (common.__version__, str(CITATION["date-released"]))
    assert CITATION["version"] == common.__version__
    assert releases == sorted(releases, key=lambda release: [int(n) for n in release[0].split(".")], reverse=True)
    assert len({version for version, _ in releases}) == len(releases)


def test_the_changes_are_of_the_kinds_that_the_form_knows():
    kinds = set(re.findall(r"^### (.*)$", (REPO / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_citation_has_what_its_format_requires():
    assert CITATION["cff-version"] == "1.2.0" and CITATION["type"] == "software"
    assert all(isinstance(CITATION[key], str) and CITATION[key] for key in ("message", "title", "abstract"))
    assert CITATION["authors"] == [{"name": "The authors of the suite"}]
    assert CITATION["license"] == "Apache-2.0"
    assert "Apache License" in (REPO / "LICENSE").read_text(encoding="utf-8")[:300]
