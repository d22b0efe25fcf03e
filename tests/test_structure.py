"""The house: who may import whom, how long things are, what one sees without running it."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

FLOORS = [  # each may import from its own floor and from those before it
    {"files"},
    {"device", "data", "bench"},
    {"nets", "nets_stylegan2", "nets_ivgan", "nets_conditional", "losses", "metrics", "protocols"},
    {"mining", "augment", "logits"},
    {"checkpoints", "draw", "watch"},
    {"training"},
    {"methods"},
    {"backbones", "calibration", "refiners"},
    {"extractors", "inception", "features", "evaluate", "sample", "importing", "walk"},
    {"explore", "explore_page"},
    {"checks"},
    {"plots", "runs"},
]
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
MODULES = {
    p.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): p
    for p in sorted((ROOT / "advlatgan").rglob("*.py"))
    if p.name != "_modidx.py"
}
NOTEBOOKS = sorted((ROOT / "nbs").glob("[0-9]*.ipynb"))


def imported(name):
    "The modules of ours that a module imports, at its top or inside a function, and the names."
    path, package = (
        MODULES[name],
        name if MODULES[name].stem == "__init__" else name.rpartition(".")[0],
    )
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((a.name, "") for a in node.names if a.name.split(".")[0] == "advlatgan")
        if not isinstance(node, ast.ImportFrom):
            continue
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        source = ".".join([*above, *([node.module] if node.module else [])])
        if source.split(".")[0] != "advlatgan":
            continue
        for a in node.names:
            inner = f"{source}.{a.name}"
            yield (inner, "") if inner in MODULES else (source, a.name)


def room(module):
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("name", [m for m in MODULES if m != "advlatgan"])
def test_nobody_imports_upwards(name):
    assert room(name) in FLOOR, f"{name} has no floor: give it one"
    for other, _ in imported(name):
        if room(other):
            assert FLOOR[room(other)] <= FLOOR[room(name)], f"{name} imports {other}, above it"


def test_there_is_no_circle():
    graph = {name: {other for other, _ in imported(name) if other != name} for name in MODULES}
    done = set()

    def visit(name, path):
        assert name not in path, f"a circle: {' -> '.join([*path, name])}"
        if name not in done:
            for other in graph.get(name, ()):
                if other != "advlatgan":
                    visit(other, [*path, name])
            done.add(name)

    for name in graph:
        visit(name, [])


@pytest.mark.parametrize("name", MODULES)
def test_no_private_name_crosses_modules(name):
    ours = {n or other.rpartition(".")[2] for other, n in imported(name)}
    private = [n for _, n in imported(name) if n.startswith("_") and not n.startswith("__")]
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in ours and node.attr.startswith("_") and node.attr[1] != "_":
                private.append(f"{node.value.id}.{node.attr}")
    assert private == []


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_short_and_lines_too(name):
    lines = MODULES[name].read_text().splitlines()
    listed = [i for i, line in enumerate(lines) if line.startswith("__all__")]
    end = next((i for i in range(*listed, len(lines)) if "]" in lines[i]), 0) if listed else 0
    own = [line for i, line in enumerate(lines) if not (listed and listed[0] <= i <= end)]
    assert len(lines) <= 500
    assert [line for line in own if len(line) > 100 and not line.startswith("# %%")] == []


def exported(path):
    "Lines of code of each export cell, and how many of them follow each other unused."
    lengths, row, rows = [], 0, [0]
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code" or source.startswith("#| default_exp"):
            continue
        if not source.startswith("#| export"):
            row = 0
            continue
        lines = [line for line in source.splitlines() if line.strip() and line.strip()[0] != "#"]
        lengths.append(len([x for x in lines if not x.startswith(("import ", "from "))]))
        row += any(line.startswith(("def ", "class ", "@")) for line in lines)
        rows.append(row)
    return lengths, rows


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_cell_is_shown_in_use_before_the_next_but_one(path):
    "No export cell above 50 lines of code, no three of them in a row."
    lengths, rows = exported(path)
    assert max(lengths, default=0) <= 50
    assert max(rows) <= 2


def test_ruff_has_nothing_to_say():
    for command in (["check"], ["format", "--check"]):
        call = [Path(sys.executable).with_name("ruff"), *command, "nbs", "tests"]
        done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_library_notebook_shows_what_it_does(path):
    "It has a title and a subtitle, keeps its outputs, and one of them is a picture or a table."
    cells = json.loads(path.read_text())["cells"]
    title = "".join(cells[0]["source"]).splitlines()
    assert title[0].startswith("# ")
    code = [c for c in cells if c["cell_type"] == "code"]
    outputs = [o for c in code for o in c["outputs"]]
    kinds = {kind for o in outputs for kind in o.get("data", {})}
    assert kinds & {"image/png", "text/markdown", "text/html"}, "no picture and no table"
    shown = sum(bool(c["outputs"]) for c in code)
    assert shown >= len(code) / 4, f"{shown} of {len(code)} cells show something"


@pytest.mark.parametrize("path", sorted((ROOT / "nbs").rglob("*.ipynb")), ids=lambda p: p.stem)
def test_a_notebook_is_soon_loaded(path):
    "About 300 kB: figures have few colours and 72 dots an inch."
    assert path.stat().st_size <= 320_000
