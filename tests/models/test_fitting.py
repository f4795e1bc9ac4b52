"""Networks on backbones: what is trained in which phase, and going on after a kill in each."""

import keras
import numpy as np
import pytest

from nbhelpers.models import backbones, batches, training

SIZE, N = 32, 48
FACTS = {"mean_months": 120.0, "spread_months": 40.0, "male_share": 0.5}
SCHEDULE = training.Schedule(3, 16, 1e-2, warmup_share=0.3, averaging=0.9, seed=2)


@pytest.fixture(scope="module")
def material() -> batches.Material:
    rng = np.random.default_rng(0)
    light = rng.uniform(0, 1, N)
    pictures = (light[:, None, None] * 200 + rng.uniform(0, 40, (N, SIZE, SIZE))).astype(np.uint8)
    sex = rng.integers(0, 2, N).astype(np.float32)
    return batches.Material(pictures, sex, 60 + 100 * light, np.arange(32), np.arange(32, N))


def build() -> keras.Model:
    keras.utils.set_random_seed(1)
    return backbones.transfer_network(
        "MobileNet0.25", SIZE, FACTS, task="age", weights_path=None, stages=2, dense_units=8
    )


def fit(material, folder, frozen: bool, pretrained: bool):
    state = folder / "models" / ".m.age.training.npz"
    return training.fit_network(
        build, "age", material, SCHEDULE, state, frozen=frozen, pretrained=pretrained
    )


def changed(network: keras.Model) -> dict[str, bool]:
    """By layer with weights: whether they are others than at first."""
    first = build()
    return {
        layer.name: any(
            (a != b).any()
            for a, b in zip(
                layer.get_weights(), first.get_layer(layer.name).get_weights(), strict=True
            )
        )
        for layer in network.layers
        if layer.weights
    }


def test_a_frozen_backbone_stays_and_its_head_is_trained(material, tmp_path):
    network, history = fit(material, tmp_path, frozen=True, pretrained=True)
    told = changed(network)
    head = {"sex_features", "dense", "standard_age"}
    assert {name for name, differs in told.items() if differs} == head
    assert len(history) == SCHEDULE.epochs


def test_fine_tuning_trains_the_head_first_and_then_everything(material, tmp_path):
    network, history = fit(material, tmp_path, frozen=False, pretrained=True)
    assert all(changed(network).values())
    assert len(history) == SCHEDULE.epochs
    state = tmp_path / "models" / ".m.age.training.npz"
    assert training.head_state(state).exists()
    training.forget(state)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_random_weights_are_trained_from_the_first_step(material, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_fit_head", lambda *arguments: pytest.fail("head first"))
    fit(material, tmp_path, frozen=False, pretrained=False)


@pytest.fixture(scope="module")
def whole(material, tmp_path_factory):
    """Network and history of an unbroken fine-tuning."""
    return fit(material, tmp_path_factory.mktemp("whole"), frozen=False, pretrained=True)


@pytest.mark.parametrize("writes", [4, training.HEAD_EPOCHS + 2])
def test_stopped_in_either_phase_it_ends_where_an_unbroken_run_ends(
    material, whole, tmp_path, monkeypatch, writes
):
    """`writes` is how many epochs, of both phases, are kept before it is stopped."""
    network, history = whole
    keep, count = training.Progress.keep, []

    def keep_some(progress):
        keep(progress)
        count.extend(progress.history[-1:])
        if len(count) == writes:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.Progress, "keep", keep_some)
        fit(material, tmp_path / "stopped", frozen=False, pretrained=True)
    again, resumed = fit(material, tmp_path / "stopped", frozen=False, pretrained=True)
    columns = ["epoch", "train_loss", "tuning_loss"]
    np.testing.assert_array_equal(resumed[columns], history[columns])
    for one, other in zip(again.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
