"""What only a CUDA device can show: steps recorded as graphs are the steps themselves."""

import warnings

import pytest
import torch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def trained(backbone, method, graphs, folder=None, steps=12):
    "Weights and losses after a few steps in 32 bits on small random images."
    from advlatgan import backbones, data, nets, training

    chosen = backbones.backbone(backbone)
    gen = torch.Generator().manual_seed(0)
    images = chosen.images(
        data.ImageData(
            "noise",
            torch.randint(256, (64, 3, 32, 32), dtype=torch.uint8, generator=gen),
            torch.randint(10, (64,), generator=gen),
        )
    ).to("cuda")
    spec = chosen.spec(images, width=1 / 8)
    phases = backbones.with_method(chosen.phases(), method, eps=0.01)
    torch.manual_seed(0)
    networks = dict(zip("GD", nets.build(**spec)))
    config = chosen.config(total_steps=steps, batch_size=16)
    options = dict(device="cuda", precision="fp32", graphs=graphs, log_every=1)
    kept = dict(checkpoint=folder, checkpoint_every=5, spec=spec)
    history = training.train(networks, images, phases, config, **options, **kept)
    weights = [p.detach().cpu() for net in networks.values() for p in net.parameters()]
    return weights, torch.tensor([[r["loss_D"], r["loss_G"]] for r in history])


@pytest.mark.parametrize(
    "backbone, method",
    [
        ("dcgan", "qua"),
        ("sngan", "qua"),
        ("wgan", "bare"),
        ("wgan-gp", "qua"),
        ("cgan", "div"),
        ("acgan", "bare"),
    ],
)
def test_recorded_steps_are_the_steps_themselves(backbone, method):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a step that cannot be recorded is said, and run as it is
        weights, losses = trained(backbone, method, True)
    expected, history = trained(backbone, method, False)
    if backbone != "wgan-gp":
        assert torch.allclose(
            losses, history, rtol=1e-2, atol=1e-2
        )  # its penalty draws otherwise under a graph
    assert losses.isfinite().all() and all(
        w.isfinite().all() and w.shape == e.shape for w, e in zip(weights, expected, strict=True)
    )
    assert (
        torch.allclose(losses[0], history[0], rtol=1e-3, atol=1e-3)
        and (losses[0] - losses[-1]).abs().max() > 1e-3
    )  # and they do train


def test_a_recorded_run_is_taken_up_again(tmp_path):
    trained("sngan", "qua", True, tmp_path, steps=12)
    (tmp_path / "step-00000012.safetensors").unlink()
    weights, losses = trained("sngan", "qua", True, tmp_path, steps=12)
    undisturbed, history = trained("sngan", "qua", True)
    assert len(losses) == 12 and torch.allclose(losses, history, rtol=1e-2, atol=1e-2)


def test_the_refiners_agree_with_the_cpu():
    from advlatgan import nets, refiners

    torch.manual_seed(0)
    G, D = nets.build("sngan", width=1 / 8)
    z = torch.randn(20, 100)
    for method in refiners.METHODS:
        here = refiners.refine(G.cpu(), D.cpu(), z, method, n_adv=2, batch_size=7)
        there = refiners.refine(G.cuda(), D.cuda(), z, method, n_adv=2, batch_size=20)
        near = ((here.z - there.z).abs() < 1e-3).flatten(1).all(1)
        assert there.z.device == z.device and near.double().mean() > 0.8, (
            method
        )  # a sign, or an acceptance, may tip
