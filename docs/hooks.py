"""The pages of the site, as `mkdocs.yml` takes them: every page at its path in the repository, so that links hold.

Added to them: what a page links to (pictures as they are, other files as a page that shows their text), a page for
each public module, made of its docstrings, and the notebooks.
"""

from __future__ import annotations

import html
import json
import posixpath
import re
from pathlib import Path

import griffe
from latex2mathml.converter import convert
from mkdocs.structure.files import File, InclusionLevel

REPO = Path(__file__).resolve().parents[1]
GLOBS = (
    "*.md", "docs/**/*.md", "benchmarks/*.md", "runtime/**/README.md", "examples/*/README.md", "docs/notebooks/*.ipynb",
)  # fmt: skip
PICTURES = {".png", ".gif", ".jpg", ".jpeg", ".svg"}
LANGUAGES = {".py": "python", ".sh": "bash", ".yaml": "yaml"}
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
IMAGE = re.compile(r'<img [^>]*src="([^":]+)"')  # as it stands on a page, relative to it
DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FORMULA = re.compile(r"^\.\. math::(?P<block>.*(?:\n+ +.*)*)|:math:`(?P<inline>[^`]*)`", re.MULTILINE)


def pages() -> list[str]:
    """The pages that are written by hand, by their path in the repository."""
    return sorted({path.relative_to(REPO).as_posix() for glob in GLOBS for path in REPO.glob(glob)})


def modules() -> dict[str, list[str]]:
    """The public modules of `common`: those of each room, and under an empty name those beside the rooms."""
    found: dict[str, list[str]] = {}
    for path in sorted((REPO / "common").rglob("*.py")):
        parts = path.relative_to(REPO).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if len(parts) > 1 and not any(part.startswith("_") for part in parts):
            room = parts[1] if (REPO / "common" / parts[1]).is_dir() else ""
            found.setdefault(room, []).append(".".join(parts))
    return found


def reference(module: str) -> str:
    """Where the page of a module is."""
    return f"docs/reference/{module}.md"


def on_config(config):
    """Fill the navigation: the reference, the notebooks, and the pages that it does not name."""
    sections = {name: entry for one in config.nav for name, entry in one.items()}
    sections["Reference"] += [
        {room or "programs": [{name.removeprefix("common."): reference(name)} for name in names]}
        for room, names in sorted(modules().items(), key=lambda item: (not item[0], item))
    ]
    named = set(re.findall(r"[\w/.]+\.md", json.dumps(config.nav)))
    for page in pages():
        if page.endswith(".ipynb"):
            sections["Notebooks"].append(f"{page}.md")
        elif page not in named:
            sections["How to"].append(page)
    return config


def on_files(files, config):
    """Replace what lies in `docs_dir` by the pages under their paths in the repository, and add what is made."""
    for file in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(file)

    def add(path):
        files.append(File(path, str(REPO), config.site_dir, config.use_directory_urls))

    def make(path, text, inclusion=InclusionLevel.INCLUDED):
        files.append(File.generated(config, path, content=text, inclusion=inclusion))

    add("docs/site.css")
    linked = set()
    for page in pages():
        text = (REPO / page).read_text(encoding="utf-8")
        if page.endswith(".ipynb"):
            make(f"{page}.md", _notebook(json.loads(text)))
            continue
        add(page)
        links = [found[1] for found in LINK.findall(text) if "://" not in found[1]] + IMAGE.findall(text)
        linked |= {_target(page, link) for link in links}
    for path in sorted(path for path in linked - set(pages()) if (REPO / path).is_file()):
        if Path(path).suffix in PICTURES:
            add(path)
        else:
            make(f"{path}.md", _source(path), InclusionLevel.NOT_IN_NAV)
    for name in (name for names in modules().values() for name in names):
        make(reference(name), f"# {name}\n\n::: {name}\n")
    return files


def on_page_markdown(markdown, page, config, files):
    """Links to files of other kinds lead to the pages that show them; the drawing becomes a picture."""

    def led(link):
        found = files.get_file_from_path(f"{_target(page.file.src_uri, link[2])}.md")
        return "".join([link[1], link[2], ".md" if found else "", link[3] or "", link[4]])

    return DIAGRAM.sub(lambda found: _drawing(found[1]), LINK.sub(led, markdown))


def _target(page: str, link: str) -> str:
    """The path in the repository that a link on a page leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def _source(path: str) -> str:
    """A page that shows a file; not found by the search, which would name it for every word."""
    text = (REPO / path).read_text(encoding="utf-8")
    fence, language = "`" * 8, LANGUAGES.get(Path(path).suffix, "text")
    return f"---\nsearch:\n  exclude: true\n---\n# {path}\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n"


def _notebook(notebook: dict) -> str:
    """A page of a notebook's cells and of what they gave."""
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        parts.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                parts.append(f'<img alt="" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">')
            else:
                parts.append(f"```text\n{''.join(output.get('text', data.get('text/plain', ''))).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def _drawing(graph: str) -> str:
    """An SVG of a mermaid ``graph LR``: names in columns, each to the right of all that it comes from."""
    edges = re.findall(r"^\s*(\w+) --> (\w+)$", graph, re.MULTILINE)
    names = list(dict.fromkeys(name for edge in edges for name in edge))
    column = dict.fromkeys(names, 0)
    for _ in names:
        column.update({b: max(column[b], column[a] + 1) for a, b in edges})
    rows = {name: [n for n in names if column[n] == column[name]].index(name) for name in names}
    count = [list(column.values()).count(c) for c in range(max(column.values()) + 1)]
    height = 60 * max(count)
    place = {n: (column[n] * 190, 60 * rows[n] + (height - 60 * count[column[n]]) / 2 + 10) for n in names}
    parts = [
        f'<path d="M{x + 110},{y + 20} C{x + 150},{y + 20} {u - 40},{v + 20} {u - 4},{v + 20}" marker-end="url(#tip)"/>'
        for (x, y), (u, v) in ((place[a], place[b]) for a, b in edges)
    ]
    parts += [
        f'<rect x="{x}" y="{y}" width="110" height="40" rx="6"/><text x="{x + 55}" y="{y + 25}">{html.escape(n)}</text>'
        for n, (x, y) in place.items()
    ]
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    size = f"{190 * len(count) - 78} {height}"
    return (
        f'<svg class="drawing" viewBox="-1 0 {size}" role="img" aria-label="What imports what"><defs>{tip}'
        f'<path d="M0,0 L8,4 L0,8 z"/></marker></defs>{"".join(parts)}</svg>'
    )


class Formulas(griffe.Extension):
    """Formulas of docstrings, which a browser draws by itself in MathML."""

    def on_instance(self, *, obj, **kwargs):
        """Replace ``.. math::`` and ``:math:`` by what they hold."""
        if obj.docstring:
            obj.docstring.value = FORMULA.sub(self._drawn, obj.docstring.value)

    @staticmethod
    def _drawn(found):
        ((display, formula),) = ((kind, text) for kind, text in found.groupdict().items() if text is not None)
        drawn = convert(" ".join(formula.split()), display=display)
        return f"<span>{drawn}</span>" if display == "inline" else drawn  # a line that begins with math is a block
