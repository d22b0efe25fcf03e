"""Write README.md from nbs/index.ipynb."""
import sys
from pathlib import Path

from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[1]
NOTE = "<!-- Made from nbs/index.ipynb by `make readme`: edit that. -->\n\n"


def readme() -> str:
    "The index notebook as Markdown, with links that start at the root."
    text, _ = MarkdownExporter().from_filename(str(ROOT / "nbs/index.ipynb"))
    return NOTE + text.strip().replace("](../", "](").replace("](experiments/", "](nbs/experiments/") + "\n"


if __name__ == "__main__":
    (ROOT / "README.md").write_text(readme())
    sys.exit()
