"""Run the notebooks of `docs/notebooks/` and write what their cells give into them: `python3 -m tests.notebooks`.

A cell's output is what it prints, and the value of its last line as Jupyter would show it, text or PNG.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
from pathlib import Path

from common.files.paths import REPO

NOTEBOOKS = sorted((REPO / "docs" / "notebooks").glob("*.ipynb"))


def run(notebook: dict, folder: Path) -> list[list[dict]]:
    """The outputs of each code cell, all run in `folder` as one program."""
    names: dict = {}
    before = os.getcwd()
    os.chdir(folder)
    try:
        cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
        return [_outputs(cell, names) for cell in cells]
    finally:
        os.chdir(before)


def _outputs(cell: str, names: dict) -> list[dict]:
    body = ast.parse(cell).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None
    outputs = []
    if said.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": said.getvalue().splitlines(keepends=True)})
    if value is not None:
        data = {"text/plain": [f"<{type(value).__name__}>" if hasattr(value, "_repr_png_") else repr(value)]}
        if hasattr(value, "_repr_png_"):
            data["image/png"] = base64.b64encode(value._repr_png_()).decode()
        outputs.append({"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": None})
    return outputs


def main():
    for file in NOTEBOOKS:
        notebook = json.loads(file.read_text(encoding="utf-8"))
        outputs = iter(run(notebook, file.parent))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"] = next(outputs)
        file.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{file.relative_to(REPO)}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
