"""Write README.md from nbs/index.ipynb, and into that the list of all notebooks."""

import json
import posixpath
import re
from pathlib import Path

import nbformat
import yaml
from nbconvert import MarkdownExporter
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
INDEX = ROOT / "nbs/index.ipynb"
LIST = "## All notebooks"  # the last cell of the index; README goes without it
PARTS = [  # caption, first and last number of its notebooks
    ("Data, files, devices", 0, 9),
    ("Networks, losses, measures", 10, 29),
    ("Mining", 30, 39),
    ("Training, features, samples", 40, 49),
    ("Methods", 50, 59),
    ("After training", 60, 69),
    ("Figures and runs", 70, 99),
]
NOTE = "<!-- Made from nbs/index.ipynb by `make readme`: edit that. -->\n\n"


def notebooks() -> str:
    "All notebooks, by subject, a line each: title and subtitle."
    lines = [LIST]
    for caption, first, last in PARTS:
        lines += ["", f"**{caption}**", ""]
        for path in sorted((ROOT / "nbs").glob("[0-9]*.ipynb")):
            if first <= int(path.stem.split("_")[0]) <= last:
                lines.append(f"- [{path.stem}]({path.name}): {_subtitle(path)}")
    lines += ["", "**Experiments**", ""]
    folder = ROOT / "nbs/experiments"
    for name in yaml.safe_load((folder / "presets.yaml").read_text()):
        path = folder / f"{name}.ipynb"
        lines.append(f"- [{path.stem}](experiments/{path.name}): {_subtitle(path)}")
    return "\n".join(lines)


def _subtitle(path):
    "Of a notebook: the line of its first cell that begins with >."
    title = "".join(json.loads(path.read_text())["cells"][0]["source"]).splitlines()
    return next(line.removeprefix("> ") for line in title if line.startswith("> "))


def readme() -> str:
    "The index notebook as Markdown; cells marked `#| echo: false` show only their output."
    notebook = nbformat.read(INDEX, as_version=4)
    notebook.cells = [c for c in notebook.cells if not c.source.startswith(LIST)]
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        if "#| echo: false" in cell.source:
            cell.metadata.tags = ["silent"]
    settings = Config(TagRemovePreprocessor={"enabled": True, "remove_input_tags": {"silent"}})
    text, _ = MarkdownExporter(config=settings).from_notebook_node(notebook)
    text = re.sub(
        r"\]\((?!https?:|#)([^)]+)\)", lambda m: f"]({posixpath.normpath('nbs/' + m[1])})", text
    )
    return NOTE + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


if __name__ == "__main__":
    index = nbformat.read(INDEX, as_version=4)
    index.cells[-1].source = notebooks()
    nbformat.write(index, INDEX)
    (ROOT / "README.md").write_text(readme())
