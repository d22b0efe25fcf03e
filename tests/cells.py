"""What runs a notebook in a fork; it imports nothing of ours, so that the notebook does."""

import json
import os
import sys
from pathlib import Path


def run_cells(path, out, other_bf16=False):
    "Run a notebook's code cells one after the other; what stopped it goes to the file `out`."
    from IPython.core.interactiveshell import InteractiveShell

    assert not any(name.split(".")[0] == "advlatgan" for name in sys.modules)
    if other_bf16:
        from advlatgan import device

        here = device.multiplies_bf16("cpu")
        device.multiplies_bf16 = lambda name: not here
    os.chdir(Path(path).parent)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    shell = InteractiveShell.instance()
    cells = [c for c in json.loads(Path(path).read_text())["cells"] if c["cell_type"] == "code"]
    for i, cell in enumerate(cells):
        source = "".join(cell["source"])
        result = shell.run_cell(source)
        error = result.error_before_exec or result.error_in_exec
        if error is not None:
            said = f"cell {i}: {type(error).__name__}: {error}\n{source}"
            Path(out).write_text(said)
            sys.exit(1)
