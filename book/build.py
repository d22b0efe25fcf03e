"""All notebooks with their outputs, how-to pages and an index of names, as a site: `make book`."""

import importlib
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_book"
sys.path.insert(0, str(ROOT / "nbs"))


def toc(site):
    "The table of contents, from the notebooks' numbers."
    from readme import PARTS

    notebooks = sorted(site.glob("nbs/[0-9]*.ipynb"))
    parts = []
    for caption, first, last in PARTS:
        chapters = [p.stem for p in notebooks if first <= int(p.stem.split("_")[0]) <= last]
        parts.append(
            dict(caption=caption, chapters=[dict(file=f"nbs/{name}") for name in chapters])
        )
    experiments = yaml.safe_load((site / "nbs/experiments/presets.yaml").read_text())
    chapters = [dict(file=f"nbs/experiments/{name}") for name in experiments]
    parts.append(dict(caption="Experiments", chapters=chapters))
    pages = ("use_your_gan", "add_a_gan", "add_an_experiment", "scale", "limits", "api")
    parts.append(dict(caption="How to", chapters=[dict(file=name) for name in pages]))
    return dict(format="jb-book", root="nbs/index", parts=[p for p in parts if p["chapters"]])


def api(package):
    "Every public name with its signature and its line, module by module."
    lines = ["# The library, name by name", ""]
    for path in sorted(package.rglob("*.py")):
        module = ".".join(path.relative_to(package.parent).with_suffix("").parts)
        if path.name in ("__init__.py", "_modidx.py"):
            continue
        loaded = importlib.import_module(module)
        lines += [f"## `{module}`", "", inspect.getdoc(loaded) or "", ""]
        for name in getattr(loaded, "__all__", []):
            lines.append(f"- `{name}{signature(getattr(loaded, name))}` {line_of(loaded, name)}")
        lines.append("")
    return "\n".join(lines)


def signature(thing):
    "The names of a callable's parameters."
    try:
        return f"({', '.join(inspect.signature(thing).parameters)})" if callable(thing) else ""
    except ValueError:
        return ""


def line_of(module, name):
    "The first line of its docstring, if it is written there."
    thing = getattr(module, name)
    if getattr(thing, "__module__", None) != module.__name__:
        return ""
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def main():
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.copytree(ROOT / "nbs", SITE / "nbs", ignore=shutil.ignore_patterns("data", ".*", "*.py"))
    shutil.copytree(ROOT / "figures", SITE / "figures")
    for page in (ROOT / "book").glob("*.md"):
        shutil.copy(page, SITE)
    (SITE / "api.md").write_text(api(ROOT / "advlatgan"))
    (SITE / "_toc.yml").write_text(yaml.safe_dump(toc(SITE), sort_keys=False))
    shutil.copy(ROOT / "book/_config.yml", SITE)
    command = [Path(sys.executable).with_name("jupyter-book"), "build", "--quiet", SITE]
    return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
