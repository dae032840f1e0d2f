"""One page of a run, self-contained: pictures are inside, nothing is fetched."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.files.disk import write_text

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #8886; }
.wide { overflow-x: auto; }
:focus-visible { outline: 3px solid #3b82d6; outline-offset: 2px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .9rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; min-width: 8rem; }
tbody tr:last-child > :nth-last-child(n+3), tbody tr:last-child > :nth-last-child(n+3) ~ * { font-weight: 600; }
img { max-width: 100%; background: #fff; border-radius: 4px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.2rem; font-size: .9rem; }
dt { font-family: ui-monospace, monospace; opacity: .75; } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  body { margin-top: 1rem; } th, td { padding: .3rem .5rem; } dl { display: block; } dd { margin-bottom: .5rem; }
}
"""


def write(folder, title: str, sections: Sequence[tuple], settings: Mapping | None = None) -> Path:
    """Write ``report.html`` into `folder`.

    Parameters
    ----------
    folder : path
    title : str
    sections : sequence of (heading, items)
        An item is a Path (a PNG or GIF, put into the page), a mapping of row name to mapping of column name to text
        (a table, see `common.show.tables.cells`), or a text (a paragraph).
    settings : mapping, optional
        Listed at the end.

    Returns
    -------
    Path

    Raises
    ------
    UserError
        It cannot be written.
    """
    body = [f"<h1>{html.escape(title)}</h1>"]
    for heading, items in sections:
        body.append(f"<h2>{html.escape(heading)}</h2>")
        body += [_item(item, heading) for item in items]
    if settings:
        listed = "".join(f"<dt>{html.escape(str(k))}</dt><dd>{html.escape(str(v))}</dd>" for k, v in settings.items())
        body.append(f"<h2>Settings</h2><dl>{listed}</dl>")
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{html.escape(title)}</title>"
    page = (
        f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{"".join(body)}</body></html>\n'
    )
    path = Path(folder) / "report.html"
    write_text(path, page)
    return path


def _item(item, heading: str) -> str:
    if isinstance(item, Path):
        kind = item.suffix.lstrip(".")
        data = base64.b64encode(item.read_bytes()).decode()
        return f'<p><img alt="{html.escape(heading)}" src="data:image/{kind};base64,{data}"></p>'
    if isinstance(item, Mapping):
        columns = list(dict.fromkeys(name for row in item.values() for name in row))
        head = "".join(f"<th>{html.escape(name)}</th>" for name in ["", *columns])
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td>"
            + "".join(f"<td>{html.escape(str(row.get(column, '')))}</td>" for column in columns)
            + "</tr>"
            for name, row in item.items()
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        return f'<div class="wide" tabindex="0" role="region" aria-label="{html.escape(heading)}">{table}</div>'
    return f"<p>{html.escape(str(item))}</p>"
