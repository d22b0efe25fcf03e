"""The repository itself: experiments run, all is in step with the notebooks, the wheel works."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

BIN = Path(sys.executable).parent
EXPERIMENTS = sorted(p.stem for p in (ROOT / "nbs/experiments").glob("*.ipynb"))


def tracked(root=ROOT):
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [name for name in names.splitlines() if (root / name).is_file()]


@pytest.fixture
def copy(tmp_path):
    "The working tree as git sees it, somewhere else."
    for name in tracked():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def rows(out):
    return {p.parent: json.loads(p.read_text())["rows"] for p in out.glob("*/*/record.json")}


def test_every_experiment_runs_at_smoke_and_a_second_time_alike(advlatgan, preloaded, tmp_path):
    "All in one call, so that what they need is made once; then some that train, refine and mine."
    done = advlatgan("run", *EXPERIMENTS, "--out", tmp_path, env=preloaded, timeout=1800)
    assert done.returncode == 0, done.stderr
    for name in EXPERIMENTS:
        assert list(tmp_path.glob(f"{name}/*/record.json")), name
        assert (tmp_path / name / f"{name}.smoke.md").exists(), name
    before = rows(tmp_path)
    names = ("fig09_toy", "train_images", "table3_refiners", "mode_league")
    done = advlatgan("run", *names, "--out", tmp_path, "--force", env=preloaded, timeout=900)
    assert done.returncode == 0, done.stderr
    assert before and rows(tmp_path) == before


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_a_notebook_says_of_published_runs_holds(name, monkeypatch):
    "The cells after '## The published run…', which are no part of a run."
    monkeypatch.chdir(ROOT / "nbs/experiments")
    cells = [
        (c["cell_type"], "".join(c["source"]))
        for c in json.loads(Path(f"{name}.ipynb").read_text())["cells"]
    ]
    start = next(
        (
            i
            for i, (kind, source) in enumerate(cells)
            if kind == "markdown" and "## The published run" in source
        ),
        len(cells),
    )
    imports = next(source for kind, source in cells if kind == "code")
    space = {}
    for source in (imports, *(source for kind, source in cells[start:] if kind == "code")):
        exec(source, space)


def test_package_is_in_step_with_the_notebooks(copy):
    "Exported anew from nothing: the same modules, no more and no fewer."
    modules = lambda root: {
        p.relative_to(root).as_posix(): p.read_text() for p in (root / "advlatgan").rglob("*.py")
    }
    there = modules(ROOT)
    for path in (copy / "advlatgan").rglob("*.py"):
        path.unlink()
    subprocess.run([BIN / "nbdev_export"], cwd=copy, check=True, capture_output=True)
    assert modules(copy).keys() == there.keys()
    assert [name for name, text in modules(copy).items() if text != there[name]] == []


def test_notebooks_are_clean(copy):
    "nbdev_clean changes nothing, and outputs stay only where readers look for them."
    texts = {p: p.read_text() for p in copy.glob("nbs/**/*.ipynb")}
    subprocess.run([BIN / "nbdev_clean"], cwd=copy, check=True, capture_output=True)
    assert [p.name for p, text in texts.items() if p.read_text() != text] == []
    for path, text in texts.items():
        name, cells = (
            path.relative_to(copy).as_posix(),
            [c for c in json.loads(text)["cells"] if c["cell_type"] == "code"],
        )
        for output in (o for c in cells for o in c["outputs"]):
            assert output["output_type"] in ("execute_result", "display_data"), (
                f"{name} holds a {output['output_type']} output"
            )
            shown = json.dumps({k: v for k, v in output["data"].items() if k.startswith("text/")})
            assert not re.search(r"/(home|root|tmp|work|Users)/|\bit/s\b", shown), (
                f"{name}: a path or a timing in an output"
            )


def test_readme_is_in_step_with_the_index():
    sys.path.insert(0, str(ROOT / "nbs"))
    from readme import INDEX, notebooks, readme

    text, cells = readme(), json.loads(INDEX.read_text())["cells"]
    assert "".join(cells[-1]["source"]) == notebooks(), "python nbs/readme.py"
    assert (ROOT / "README.md").read_text() == text
    for link in re.findall(r"\]\((?!https?:|#)([^)]+)\)", text):
        assert (ROOT / link).exists(), f"README links to {link}"
    for name in EXPERIMENTS:
        assert f"(experiments/{name}.ipynb)" in notebooks(), f"the index does not list {name}"


def test_links_between_notebooks_and_pages_lead_somewhere():
    for path in [*ROOT.glob("nbs/**/*.ipynb"), *ROOT.glob("book/*.md"), *ROOT.glob("*.md")]:
        text = path.read_text()
        if path.suffix == ".ipynb":
            text = "\n".join("".join(c["source"]) for c in json.loads(text)["cells"])
        for link in re.findall(r"\]\((?!https?:|#|mailto:)([\w./-]+\.\w+)[)#]", text):
            assert (path.parent / link).exists(), f"{path.name} links to {link}"


def test_every_published_result_is_whole_and_current():
    "The committed tables and figures belong to committed records, and the tables follow from them."
    from advlatgan import runs

    experiments = runs.find_experiments(ROOT)
    files = sorted((ROOT / "data/results").glob("*.json"))
    assert files
    for file in files:
        name, preset = file.stem.split(".", 1)
        e = experiments[name]
        records = runs.load_bundle(file.with_suffix(""))
        assert file.with_suffix(".md").read_text() == runs.document(e, preset, records)
        assert [r["params"] for r in records] == runs.resolve(e, preset), (
            f"{file.name} is not what preset {preset} asks for now"
        )
        assert not e.figure or (ROOT / "figures" / f"{name}.{preset}.png").exists()
        stored = runs.records.load_arrays(file.with_suffix(".npz"))
        folders = {r["folder"] for r in records}
        assert {key.rsplit(":", 1)[0] for key in stored} <= folders, file.name
    known = {f"{f.stem}.png" for f in files} | {"explore.png"}  # the page, in a browser
    assert [p.name for p in (ROOT / "figures").glob("*.png") if p.name not in known] == []


def test_wheel_works_outside_the_tree(copy, tmp_path_factory):
    "Built, installed without its checkout (but with this environment's libraries), and used."
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", elsewhere, copy],
        check=True,
        capture_output=True,
    )
    [wheel] = elsewhere.glob("*.whl")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            elsewhere / "site",
            wheel,
        ],
        check=True,
        capture_output=True,
    )
    code = (
        "import importlib, pkgutil, torch, advlatgan\n"
        "for m in pkgutil.walk_packages(advlatgan.__path__, 'advlatgan.'):\n"
        "    importlib.import_module(m.name)\n"
        "from advlatgan import features, mining, nets\n"
        "assert 'elsewhere' in advlatgan.__file__\n"
        "assert features.load_extractor('mnistcnn').identity['sha256']\n"
        "G, D = nets.ToyG(), nets.ToyD(); z = torch.randn(4, 2)\n"
        "print(mining.ifgsm(mining.quality_objective(G, D), z, 2, .01).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(elsewhere / "site"), "PATH": ""},
    )
    assert done.returncode == 0 and "torch.Size([4, 2])" in done.stdout, done.stderr
    assert "advlatgan.runs.cli" in (elsewhere / "site/bin/advlatgan").read_text()


def test_packs_divide_their_batches_in_every_preset():
    "What `checks.check_mixture` refuses for one run would stop a whole preset."
    from advlatgan import runs

    experiment = runs.find_experiments(ROOT)["pgm_images"]
    for preset in experiment.presets:
        for params in runs.resolve(experiment, preset):
            pack = int(params["method"].partition("PacGAN ")[2] or 1)
            assert params["batch_size"] % pack == 0, (preset, params["method"])
