# Everything starts from here; `make help` says what there is.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help run test lab notebooks readme book clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "advlatgan needs Python 3.11 or newer, $(PYTHON) is older: make PYTHON=/path/to/python3.11 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/python -c 'import torch, torchvision, advlatgan'
	@touch $@

run: $(VENV)/.installed ## train GANs on Grid and Ring and on 5,000 digits, mine their latents (-z, and the matched walk beside it), draw Fig. 9 and Fig. 5 and their tables (one seed, minutes)
	$(BIN)/advlatgan run fig09_toy --preset cpu --seeds 0
	$(BIN)/advlatgan run fig05_mnist2d --preset quick

test: $(VENV)/.installed ## every test
	$(BIN)/python -m pytest

lab: $(VENV)/.installed ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=nbs

notebooks: $(VENV)/.installed ## for developers: format, export, run and clean all notebooks, write README.md
	$(BIN)/ruff format nbs tests
	$(BIN)/nbdev_export
	cd nbs && TQDM_DISABLE=1 ../$(BIN)/jupyter nbconvert --to notebook --execute --inplace *.ipynb experiments/*.ipynb
	$(BIN)/nbdev_clean
	$(BIN)/python nbs/readme.py

book: $(VENV)/.installed ## the notebooks with their outputs, how-to pages and an index of names, as a site in _book
	$(BIN)/python book/build.py

readme: $(VENV)/.installed ## for developers: README.md from nbs/index.ipynb
	$(BIN)/python nbs/readme.py

clean: ## remove what was built, and the runs (not data sets, not committed results)
	rm -rf build dist *.egg-info .pytest_cache _book data/runs
