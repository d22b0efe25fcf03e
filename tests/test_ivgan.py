"""IVGAN: taken up again bit for bit, and in training mode after every evaluation."""

import pytest
import torch


def run(folder=None, stop=None, levels=((0, 0.1), (4, 0.02))):
    from advlatgan import data, nets_ivgan, training
    from advlatgan.methods.gan import phase
    from advlatgan.methods.ivgan import ivgan

    torch.manual_seed(0)
    nets = nets_ivgan.point_nets(width=16)
    phases = ivgan(noise=levels, n_enc=2)
    clock = phase(phases, "G").after

    def progress(step, total, losses):
        if step == stop:
            raise KeyboardInterrupt

    config = training.TrainConfig(total_steps=8, batch_size=16, z_dim=8)
    kept = dict(checkpoint=folder, checkpoint_every=3, log_every=1, precision="fp32")
    ring = data.toy_mixture("ring")
    training.train(nets, ring, phases, config, progress=progress, **kept)
    return [v for net in nets.values() for v in net.state_dict().values()], clock


def test_resumed_run_is_bit_equal_and_goes_on_in_its_noise(tmp_path):
    expected, clock = run()
    assert clock.step == 8 and abs(clock.value().item() - 0.02) < 1e-6
    for at in (2, 3, 7):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / str(at), stop=at)
        torch.rand(3)
        resumed, clock = run(tmp_path / str(at))
        assert all(map(torch.equal, resumed, expected)) and clock.step == 8


def test_another_noise_is_another_run(tmp_path):
    run(tmp_path)
    with pytest.raises(ValueError, match="noise"):
        run(tmp_path, levels=((0, 0.2), (4, 0.02)))


def watched(seen, watch=None):
    "Three steps on images: what all modes were in each step of E, and all weights and statistics."
    from advlatgan import data, nets_ivgan, training
    from advlatgan.methods.gan import changed, phase
    from advlatgan.methods.ivgan import ivgan

    torch.manual_seed(0)
    x = torch.randint(256, (16, 1, 28, 28), dtype=torch.uint8)
    nets = nets_ivgan.image_nets(28, 1, z_dim=8, width=1 / 16)
    loss = phase(ivgan(), "E").loss

    def noted(nets, batch):
        seen.append([m.training for net in vars(nets).values() for m in net.modules()])
        return loss(nets, batch)

    config = training.TrainConfig(total_steps=3, batch_size=8, z_dim=8)
    phases = changed(ivgan(), "E", loss=noted)
    options = dict(precision="fp32", log_every=1, watch=watch)
    training.train(nets, data.ImageData("noise", x), phases, config, **options)
    return [v for net in nets.values() for v in net.state_dict().values()]


def test_networks_are_in_training_mode_after_each_evaluation(tmp_path):
    from advlatgan.watch import Watch

    seen = []
    expected = watched([])
    found = watched(seen, Watch(tmp_path, n_samples=4, sample_every=1))
    assert len(list(tmp_path.glob("samples/*.png"))) == 3  # it did evaluate
    assert len(seen) == 3 and all(all(modes) for modes in seen)
    assert all(map(torch.equal, found, expected))  # and no statistic moved, no random state
