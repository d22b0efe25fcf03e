"""Three players: an encoder with a rate of its own, killed, shared by processes, in bf16."""

import random
import time

import torch
import torch.distributed as dist
from killed import go_on, kill, same_state
from together import together

TOTAL = 40


def in_turn(n, k, device):
    "Interventions without randomness: the first, the second, … (the same in any share of a batch)."
    return torch.arange(n, device=device) % k


def phases(case):
    from advlatgan.methods.ivgan import Turns, ivgan

    rates = dict(lr=1e-3, lr_E=3e-3, weight_decay_E=5e-4)
    if (
        case == "random"
    ):  # everything that has a state: noise with its clock, blocks, two steps of E
        return ivgan(noise=((0, 0.1), (15, 0.05)), n_enc=2, **rates)
    return ivgan(how=Turns(4), index=in_turn, **rates)


def job(case, folder=None, steps=TOTAL, pause=0.0, **options):
    "A small run; prints each step. Called in this process and in others."
    from advlatgan import data, nets_ivgan, training

    torch.set_num_threads(1)
    torch.manual_seed(0)
    nets = nets_ivgan.point_nets(width=16, standardise=case == "random")
    config = training.TrainConfig(total_steps=steps, batch_size=16, z_dim=8, lr_decay=False)

    def progress(step, total, losses):
        print(step, flush=True)
        time.sleep(pause)

    options = dict(precision="fp32", log_every=1, progress=progress) | options
    kept = dict(checkpoint=folder, checkpoint_every=7)
    ring = data.toy_mixture("ring")
    history = training.train(nets, ring, phases(case), config, **kept, **options)
    return {name: net.state_dict() for name, net in nets.items()}, history


def test_killed_and_resumed_is_bit_equal(tmp_path):
    "All three networks and optimisers, the noise's clock, random states and the history."
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    stop = random.SystemRandom().randrange(8, TOTAL - 5)
    code = f"from test_phases import job; job('random', {str(killed)!r}, pause=0.02)"
    kill(code, stop)
    go_on(code, killed, TOTAL)
    job("random", calm)
    step, a = same_state(calm, killed)
    assert step == TOTAL, f"killed at step {stop}"
    kinds = {k.split("/")[1] for k in a}
    assert {"G", "D", "E", "opt_G", "opt_D", "opt_E", "G.after"} <= kinds


def shared_job(out, steps):
    "What a process of several does."
    weights, history = job("turns", steps=steps)
    rank = dist.get_rank() if dist.is_initialized() else 0
    torch.save(dict(weights=weights, history=history), f"{out}.{rank}")


def same(a, b):
    pairs = [(a["weights"][n][k], b["weights"][n][k]) for n in "GDE" for k in a["weights"][n]]
    return all(torch.allclose(x, y, atol=1e-5) for x, y in pairs)


def test_two_processes_agree_with_one(tmp_path):
    "On the same global batches; a step more or less would be seen."
    alone, shared, short = (str(tmp_path / name) for name in ("alone", "shared", "short"))
    shared_job(alone, 20)
    shared_job(short, 19)
    together(tmp_path, shared_job, shared, 20)
    names = (f"{alone}.0", f"{shared}.0", f"{shared}.1", f"{short}.0")
    one, first, second, other = (torch.load(name) for name in names)
    assert same(one, first) and same(first, second) and not same(one, other)
    told = lambda run: torch.tensor([[r[f"loss_{n}"] for n in "DGE"] for r in run["history"]])
    assert torch.allclose(told(one), told(first), atol=1e-5)
    assert torch.equal(told(first), told(second))


def test_bf16_runs_near_to_fp32():
    "Mixed precision: weights stay in 32 bits, losses are near to those of fp32 and not the same."
    (weights, low), (_, full) = (job("turns", precision=p, steps=8) for p in ("bf16", "fp32"))
    assert all(v.dtype == torch.float32 for net in weights.values() for v in net.values())
    told = lambda history: torch.tensor([[r[f"loss_{n}"] for n in "DGE"] for r in history])
    assert torch.allclose(told(low), told(full), atol=0.05)
    assert not torch.equal(told(low), told(full))
