"""The projectors' initial weights: what predicts the labels comes first."""

import copy

import pytest
import torch
from torch import Tensor, nn

from finevq.train.model.finevq import projector
from finevq.train.model.initialise import initialise_projectors

HIDDEN, WIDTHS, RMS = 16, (48, 24), 0.5


@pytest.fixture
def projectors() -> list[nn.Sequential]:
    torch.manual_seed(0)
    return [projector(width, HIDDEN) for width in WIDTHS]


def videos(count: int, seed: int) -> tuple[list[Tensor], Tensor]:
    """Features of all projectors, and a label that is a faint sum of one channel of each.

    All other channels are strong, and more than a projector has components.
    """
    generator = torch.Generator().manual_seed(seed)
    means = [torch.randn(count, width, generator=generator) for width in WIDTHS]
    label = means[0][:, 5] + means[1][:, 7]
    means[0][:, 5] *= 0.2
    means[1][:, 7] *= 0.2
    return means, label


def outputs(projectors: list[nn.Sequential], means: list[Tensor]) -> Tensor:
    """The sum of what all projectors make of videos' mean tokens, behind the LayerNorm's gain."""
    total = torch.zeros(len(means[0]), HIDDEN)
    for each, mean in zip(projectors, means, strict=True):
        norm, *layers = each
        total += nn.Sequential(*layers)(mean * norm.weight + norm.bias)
    return total.detach()


def predicted(projectors: list[nn.Sequential]) -> float:
    """How well a line through the outputs tells the label of other videos: the correlation."""
    (means, label), (others, truth) = videos(400, 1), videos(400, 2)
    line = torch.linalg.lstsq(outputs(projectors, means), label[:, None] - label.mean()).solution
    found = (outputs(projectors, others) @ line).squeeze()
    return float(torch.corrcoef(torch.stack([found, truth]))[0, 1])


def test_what_predicts_a_label_is_passed_on_however_faint(projectors: list[nn.Sequential]) -> None:
    means, label = videos(200, 0)
    unlabelled = copy.deepcopy(projectors)
    initialise_projectors(projectors, means, label[:, None], rms=RMS)
    initialise_projectors(unlabelled, means, torch.full((200, 1), torch.nan), rms=RMS)
    assert predicted(projectors) > 0.9
    assert predicted(unlabelled) < 0.6


def test_videos_without_a_label_take_no_part_in_its_direction(
    projectors: list[nn.Sequential],
) -> None:
    means, label = videos(200, 0)
    label[::2] = torch.nan
    initialise_projectors(projectors, means, label[:, None], rms=RMS)
    assert predicted(projectors) > 0.75


@pytest.mark.parametrize("value", [0.3, torch.nan])
def test_a_label_that_tells_nothing_gets_no_direction(
    projectors: list[nn.Sequential], value: float
) -> None:
    means, label = videos(200, 0)
    expected = copy.deepcopy(projectors)
    initialise_projectors(expected, means, label[:, None], rms=RMS)
    labels = torch.stack([torch.full((200,), value), label], dim=1)
    initialise_projectors(projectors, means, labels, rms=RMS)
    for one, other in zip(projectors, expected, strict=True):
        assert all(
            torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)
        )


def test_labels_of_equal_features_give_no_direction(projectors: list[nn.Sequential]) -> None:
    means, label = videos(200, 0)
    for mean in means:
        mean[1] = mean[0]
    label[2:] = torch.nan
    initialise_projectors(projectors, means, label[:, None], rms=RMS)
    assert all(weight.isfinite().all() for each in projectors for weight in each.parameters())
    assert predicted(projectors) < 0.6


def test_the_mean_token_has_the_strength_of_a_word(projectors: list[nn.Sequential]) -> None:
    means, label = videos(200, 0)
    initialise_projectors(projectors, means, label[:, None], rms=RMS)
    for number, each in enumerate(projectors):
        alone = outputs([each], [means[number]])
        assert float(alone.square().mean().sqrt()) == pytest.approx(RMS, rel=1e-3)


def test_the_gelu_passes_all_components_unchanged(projectors: list[nn.Sequential]) -> None:
    means, label = videos(200, 0)
    initialise_projectors(projectors, means, label[:, None], rms=RMS)
    layers = projectors[0][1:]
    with torch.no_grad():
        at_once = layers(means[0][:100] + means[0][100:])
        apart = layers(means[0][:100]) + layers(means[0][100:])
    torch.testing.assert_close(at_once, apart, rtol=0, atol=1e-4)


def test_features_that_do_not_vary_leave_a_projector_as_it_is(
    projectors: list[nn.Sequential],
) -> None:
    means, label = videos(200, 0)
    before = copy.deepcopy(projectors[1])
    means[1] = means[1][:1].expand(200, -1)
    initialise_projectors(projectors, means, label[:, None], rms=RMS)
    assert all(
        torch.equal(a, b)
        for a, b in zip(projectors[1].parameters(), before.parameters(), strict=True)
    )
    assert not projectors[0][1].bias.any()


def test_a_channel_that_does_not_vary_gets_no_weight(projectors: list[nn.Sequential]) -> None:
    means, label = videos(200, 0)
    means[0][:, 3] = 7.0
    initialise_projectors(projectors, means, label[:, None], rms=RMS)
    assert projectors[0][0].weight[3] == 0
    assert projectors[0][0].weight[4] != 0
