"""Training under torchrun: processes that share a batch, with gloo on the CPU."""

import torch
import torch.distributed as dist
from together import together


def job(out, case, steps, checkpoint=None):
    "A small run, alone or as one of several processes, which write weights and history."
    from advlatgan import data, losses, nets, training
    from advlatgan.methods import advlatgan, gan

    torch.set_num_threads(1)
    torch.manual_seed(0)
    adam = dict(lr=1e-3)
    if case == "toy":
        x, (G, D) = data.toy_mixture("ring"), nets.build(arch="toy", z_dim=2, width=0.2)
        phases = gan.gan(**adam, n_dis=2, batch_size_G=36)
        config = dict(batch_size=24, lr_decay=False)
    else:  # batch norm, and a penalty with randomness of its own
        x = torch.randint(256, (60, 1, 28, 28), dtype=torch.uint8)
        x = data.ImageData("noise", x, flip=True, noise=True)
        G, D = nets.build(arch="wgan", img_size=28, img_channels=1, z_dim=2, width=1 / 64)
        phases = gan.gan("wasserstein", penalty=losses.GradientPenalty())
        config = dict(batch_size=12, ema=0.9)
    config = training.TrainConfig(total_steps=steps, z_dim=2, **config)
    kept = dict(checkpoint=checkpoint, checkpoint_every=3, log_every=1, precision="fp32")
    phases = advlatgan.qua(phases, 2, 0.02)
    history = training.train({"G": G, "D": D}, x, phases, config, **kept)
    weights = [dict(net.state_dict()) for net in (G, D)]
    rank = dist.get_rank() if dist.is_initialized() else 0
    torch.save(dict(weights=weights, history=history), f"{out}.{rank}")


def same(a, b):
    return all(
        torch.allclose(x[k], y[k], atol=1e-5)
        for x, y in zip(a["weights"], b["weights"], strict=True)
        for k in x
    )


def test_two_processes_agree_with_one_on_the_same_global_batches(tmp_path):
    alone, shared, short = (str(tmp_path / name) for name in ("alone", "shared", "short"))
    job(alone, "toy", 40)
    together(tmp_path, job, shared, "toy", 40)
    job(short, "toy", 39)
    one, first, second, other = (
        torch.load(f) for f in (f"{alone}.0", f"{shared}.0", f"{shared}.1", f"{short}.0")
    )
    assert (
        same(one, first) and same(first, second) and not same(one, other)
    )  # a step more or less would be seen
    losses = lambda run: torch.tensor([[r["loss_D"], r["loss_G"]] for r in run["history"]])
    assert torch.allclose(losses(one), losses(first), atol=1e-5) and torch.equal(
        losses(first), losses(second)
    )  # of the whole batch, not of a share


def test_processes_stay_alike_with_batch_norm_penalty_and_checkpoints(tmp_path):
    out, folder = str(tmp_path / "images"), tmp_path / "checkpoints"
    parameters = lambda run: [
        v
        for net in run["weights"]
        for k, v in net.items()
        if "running" not in k and "num_batches" not in k
    ]
    kept = None
    for again in (False, True):  # the second time resumed: nothing left to do
        together(tmp_path, job, out, "images", 4, str(folder))
        first, second = (torch.load(f"{out}.{rank}") for rank in (0, 1))
        assert (
            all(
                torch.equal(a, b)
                for a, b in zip(parameters(first), parameters(second), strict=True)
            )
            and first["history"] == second["history"]
        )
        assert not again or all(
            torch.equal(a, b) for a, b in zip(parameters(first), kept, strict=True)
        )
        kept = parameters(first)
    assert [f.name for f in sorted(folder.glob("*.safetensors"))] == [
        "step-00000003.safetensors",
        "step-00000004.safetensors",
    ]
    assert len(first["history"]) == 4


def test_a_batch_that_cannot_be_shared_is_said(monkeypatch):
    import pytest

    from advlatgan import data, nets, training
    from advlatgan.methods.gan import gan

    monkeypatch.setattr(training, "world", lambda: (0, 2))
    networks = dict(zip("GD", nets.build("toy", z_dim=2)))
    said = "batch_size is 25: expected a multiple of 2, the processes that share a batch"
    with pytest.raises(ValueError, match=said):
        config = training.TrainConfig(batch_size=25, z_dim=2)
        training.train(networks, data.toy_mixture("ring"), gan(), config)
