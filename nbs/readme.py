"""Write README.md from nbs/index.ipynb."""

import posixpath
import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
NOTE = "<!-- Made from nbs/index.ipynb by `make readme`: edit that. -->\n\n"


def readme() -> str:
    "The index notebook as Markdown; cells marked `#| echo: false` show only their output."
    notebook = nbformat.read(ROOT / "nbs/index.ipynb", as_version=4)
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
    (ROOT / "README.md").write_text(readme())
