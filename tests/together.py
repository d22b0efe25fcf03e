"""A function of a test, called in two processes that share its batches (gloo, on the CPU)."""

import subprocess
import sys
from pathlib import Path

HERE = str(Path(__file__).parent)


def together(tmp_path, function, *args):
    "Call it under torchrun; what it leaves behind is its own business."
    script = tmp_path / "train.py"
    script.write_text(f"""import sys
sys.path.insert(0, {HERE!r})
import torch.distributed as dist
from {function.__module__} import {function.__name__}
dist.init_process_group("gloo")
{function.__name__}({", ".join(map(repr, args))})
dist.destroy_process_group()
""")
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    done = subprocess.run([sys.executable, *run], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
