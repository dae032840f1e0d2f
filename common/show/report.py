"""One page of a run, self-contained: pictures are inside, nothing is fetched; it can be read without its script."""

from __future__ import annotations

import base64
import html
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.files.disk import write_text

COMMAND = "command"  # the anchor of the part that every picture refers to
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #8886; }
.wide { overflow-x: auto; }
:focus-visible { outline: 3px solid #3b82d6; outline-offset: 2px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .9rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; min-width: 8rem; }
.main > :nth-last-child(n+3), .main > :nth-last-child(n+3) ~ * { font-weight: 600; }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 3px solid #3b82d6; }
th button::after { content: "\\2195"; opacity: .4; padding-left: .3em; }
[aria-sort=ascending] button::after { content: "\\2191"; opacity: 1; }
[aria-sort=descending] button::after { content: "\\2193"; opacity: 1; }
nav ol { columns: 16rem; font-size: .95rem; } figure { margin: 1rem 0; } figcaption { font-size: .85rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #8882; padding: .6rem .8rem; border-radius: 4px; }
img { max-width: 100%; background: #fff; border-radius: 4px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.2rem; font-size: .9rem; }
dt { font-family: ui-monospace, monospace; opacity: .75; } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  body { margin-top: 1rem; } th, td { padding: .3rem .5rem; } dl { display: block; } dd { margin-bottom: .5rem; }
}
"""

# A heading sorts its table: numbers by value, the largest first, texts by letter, empty cells last.
SCRIPT = """
for (const table of document.querySelectorAll('table')) {
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  table.querySelectorAll('thead th').forEach((head, column) => {
    const button = document.createElement('button');
    button.type = 'button';
    if (!head.textContent) button.setAttribute('aria-label', 'name');
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener('click', () => {
      const cell = row => row.cells[column].textContent.trim();
      const filled = [...body.rows].map(cell).filter(text => text);
      const numeric = filled.every(text => !isNaN(parseFloat(text.replaceAll(',', ''))));
      const now = head.getAttribute('aria-sort');
      const up = now ? now === 'descending' : !numeric;
      const order = (a, b) => numeric
        ? parseFloat(a.replaceAll(',', '')) - parseFloat(b.replaceAll(',', ''))
        : a.localeCompare(b, undefined, {numeric: true});
      const rows = [...body.rows].sort((one, other) => {
        const [a, b] = [cell(one), cell(other)];
        return a && b ? (up ? order(a, b) : order(b, a)) : !a - !b;
      });
      table.querySelectorAll('[aria-sort]').forEach(other => other.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      body.append(...rows);
    });
  });
}
"""


def write(
    folder, title: str, sections: Sequence[tuple], settings: Mapping | None = None,
    command: Sequence[str] | None = None,
) -> Path:  # fmt: skip
    """Write ``report.html`` into `folder`: a table of contents, the sections, and the command that made the pictures.

    Parameters
    ----------
    folder : path
    title : str
    sections : sequence of (heading, items)
        An item is a Path (a PNG or GIF, put into the page), a mapping of row name to mapping of column name to text
        (a table, see `common.show.tables.cells`), or a text (a paragraph).
    settings : mapping, optional
        Listed at the end.
    command : sequence of str, optional
        The program and its arguments, see `common.run.Run.command`; default is the process's own.

    Returns
    -------
    Path

    Raises
    ------
    UserError
        It cannot be written.
    """
    parts = [(heading, "".join(_item(item, heading) for item in items)) for heading, items in sections]
    told = html.escape(shlex.join(["python3", *map(str, sys.argv if command is None else command)]))
    parts.append(("Command", f"<p>The pictures and figures of this page were made by</p><pre>{told}</pre>"))
    if settings:
        listed = "".join(f"<dt>{html.escape(str(k))}</dt><dd>{html.escape(str(v))}</dd>" for k, v in settings.items())
        parts.append(("Settings", f"<dl>{listed}</dl>"))
    names = [COMMAND if heading == "Command" else f"part-{number}" for number, (heading, _) in enumerate(parts, 1)]
    links = "".join(f'<li><a href="#{name}">{html.escape(head)}</a></li>' for name, (head, _) in zip(names, parts))
    body = [f"<h1>{html.escape(title)}</h1>", f'<nav aria-label="Contents"><ol>{links}</ol></nav>']
    body += [f'<h2 id="{name}">{html.escape(head)}</h2>{part}' for name, (head, part) in zip(names, parts)]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{html.escape(title)}</title>"
    page = (
        f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{"".join(body)}'
        f"<script>{SCRIPT}</script></body></html>\n"
    )
    path = Path(folder) / "report.html"
    write_text(path, page)
    return path


def _item(item, heading: str) -> str:
    if isinstance(item, Path):
        kind = item.suffix.lstrip(".")
        data = base64.b64encode(item.read_bytes()).decode()
        told = f'{html.escape(item.name)}, made by <a href="#{COMMAND}">this command</a>'
        image = f'<img alt="{html.escape(heading)}" src="data:image/{kind};base64,{data}">'
        return f"<figure>{image}<figcaption>{told}</figcaption></figure>"
    if isinstance(item, Mapping):
        columns = list(dict.fromkeys(name for row in item.values() for name in row))
        head = "".join(f"<th>{html.escape(name)}</th>" for name in ["", *columns])
        rows = "".join(
            f"<tr{' class=main' * (number == len(item))}><td>{html.escape(name)}</td>"  # the last row is the run's own
            + "".join(f"<td>{html.escape(str(row.get(column, '')))}</td>" for column in columns)
            + "</tr>"
            for number, (name, row) in enumerate(item.items(), 1)
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        return f'<div class="wide" tabindex="0" role="region" aria-label="{html.escape(heading)}">{table}</div>'
    return f"<p>{html.escape(str(item))}</p>"
