"""What needs packages that are optional."""

import pytest

from advlatgan import nets
from advlatgan.watch import Watch, read_metrics


def test_tensorboard_shows_a_resumed_training_as_one(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    G, _ = nets.build("dcgan", 16, 1, z_dim=4, width=1 / 32)
    for loss, steps in ((1.0, (10, 20, 30, 40)), (2.0, (30, 40, 50))):
        watch = Watch(tmp_path, n_samples=4, sample_every=20, tensorboard=True)
        for step in steps:
            watch(step, dict(step=step, loss_D=loss), G)
    shown = EventAccumulator(str(tmp_path / "tensorboard"))
    shown.Reload()
    assert [(e.step, e.value) for e in shown.Scalars("loss_D")] == [
        (r["step"], r["loss_D"]) for r in read_metrics(tmp_path)
    ]
    assert shown.Tags()["scalars"] == ["loss_D"] and [e.step for e in shown.Images("samples")] == [
        20,
        40,
    ]
