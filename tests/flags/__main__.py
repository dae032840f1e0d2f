"""``python3 -m tests.flags`` writes the table of flags in each example's README, from the table in its train.py."""

from __future__ import annotations

import importlib
from pathlib import Path

from common import cli
from common.files.paths import REPO

EXAMPLES = ("embedding_learning", "im2vec", "transfer", "visual_semantic", "vse")
BEGIN, END = "<!-- flags: python3 -m tests.flags writes them -->\n", "<!-- end of flags -->\n"


def readme(example: str) -> Path:
    """The file that holds the table."""
    return REPO / "examples" / example / "README.md"


def current(example: str) -> str:
    """The text of the example's README with the table as it should be."""
    before, _, rest = readme(example).read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    flags = importlib.import_module(f"examples.{example}.train").FLAGS
    return f"{before}{BEGIN}{cli.table(flags)}\n{END}{after}"


if __name__ == "__main__":
    for name in EXAMPLES:
        readme(name).write_text(current(name), encoding="utf-8")
        print(readme(name))
