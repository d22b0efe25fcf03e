# Everything starts from here; `make help` says what there is.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SHOWN  := 30_mining index experiments/*   # notebooks that keep their outputs
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help run test lab notebooks readme clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "advlatgan needs Python 3.11 or newer, $(PYTHON) is older: make PYTHON=/path/to/python3.11 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/python -c 'import torch, torchvision, advlatgan'
	@touch $@

run: $(VENV)/.installed ## train GANs on Grid and Ring and on 5,000 digits, mine their latents, draw Fig. 9 and Fig. 5 and their tables (one seed, minutes)
	$(BIN)/advlatgan run fig09_toy --preset cpu --seeds 0
	$(BIN)/advlatgan run fig05_mnist2d --preset quick

test: $(VENV)/.installed ## every test
	$(BIN)/python -m pytest

lab: $(VENV)/.installed ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=nbs

notebooks: $(VENV)/.installed ## for developers: export the package, rerun the notebooks that keep outputs, clean all, write README.md
	$(BIN)/nbdev_export
	$(BIN)/jupyter nbconvert --clear-output --inplace nbs/[0-9]*.ipynb
	cd nbs && TQDM_DISABLE=1 ADVLATGAN_DATA=$${ADVLATGAN_DATA:-$(CURDIR)/data} ../$(BIN)/jupyter nbconvert --to notebook --execute --inplace $(addsuffix .ipynb,$(SHOWN))
	$(BIN)/nbdev_clean
	$(BIN)/python nbs/readme.py

readme: $(VENV)/.installed ## for developers: README.md from nbs/index.ipynb
	$(BIN)/python nbs/readme.py

clean: ## remove what was built, and the runs (not data sets, not committed results)
	rm -rf build dist *.egg-info .pytest_cache data/runs
