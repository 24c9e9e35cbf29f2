"""The model reads a packed question as it would read it alone: loss, gradients and scores."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from finevq.train.model.checkpoint import CheckpointInfo
from finevq.train.model.finevq import FineVQ, loss_counts, score_head
from finevq.train.model.packing import Layout, Packer, collate
from finevq.train.model.spec import Spec
from finevq.train.prompts import TURN_END, Prompt, rating

from .._made import (
    LAYOUT,
    PROMPTS,
    QUESTIONS,
    RATINGS,
    batch_of,
    features_of,
    model_of,
    scores_of,
)

Made = tuple[FineVQ, Packer]


@pytest.fixture(scope="module")
def made(made_info: CheckpointInfo) -> Made:
    return model_of(made_info)


def one_by_one(
    made: Made, videos: Sequence[Sequence[Prompt]], score_weight: float = 1.0
) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of prompts asked one at a time, as plain causal text.

    Nothing of the packing is used: no mask, no positions, no labels of its own. What is shared is
    the projectors, the language model, the score head and the tokenizer.
    """
    model, packer = made
    model.zero_grad()
    dtype = model.score_head[0].weight.dtype
    spatial, motion = (part.to(dtype) for part in features_of(len(videos)))
    start = packer.chat.prefix(LAYOUT.frames, LAYOUT.tokens, LAYOUT.clips)
    answers = [packer.encode(p.reply(p.answer) + TURN_END) for v in videos for p in v if p.answer]
    tokens = sum(len(answer) for answer in answers)
    targets = sum(p.target is not None for prompts in videos for p in prompts)
    total = 0.0
    for video, prompts in enumerate(videos):
        for prompt in prompts:
            stem = packer.encode(start + packer.chat.question(prompt) + prompt.stem)
            reply = prompt.reply(prompt.answer) + TURN_END if prompt.answer else prompt.stem
            ids = torch.tensor(packer.encode(start + packer.chat.question(prompt) + reply))
            embedded = model.language_model.get_input_embeddings()(ids)
            frames = model.spatial_projector(spatial[video].flatten(0, 1))
            visual = iter(torch.cat([frames, model.motion_projector(motion[video])]))
            embedded = torch.stack(
                [
                    next(visual) if token == packer.image_id else row
                    for token, row in zip(ids, embedded, strict=True)
                ]
            )
            output = model.language_model(
                inputs_embeds=embedded[None], output_hidden_states=True, use_cache=False
            )
            loss = torch.zeros(())
            if prompt.answer:
                count = len(packer.encode(reply))
                logits = output.logits[0, -count - 1 : -1]
                loss = loss + F.cross_entropy(logits, ids[-count:], reduction="sum") / tokens
            if prompt.target is not None:
                score = model.score_head(output.hidden_states[-1][0, len(stem) - 1])
                loss = loss + score_weight * (score - prompt.target).abs().sum() / targets
            if loss.requires_grad:
                loss.backward()
            total += loss.item()
    return total, gradients(model)


def packed_at_once(
    made: Made, videos: Sequence[Sequence[Prompt]]
) -> tuple[float, dict[str, Tensor]]:
    model, packer = made
    model.zero_grad()
    packed = [packer.pack(LAYOUT, prompts, learn=True) for prompts in videos]
    loss = model(**batch_of(packer, packed)).loss
    loss.backward()
    return loss.item(), gradients(model)


def gradients(model: FineVQ) -> dict[str, Tensor]:
    """By name, of every weight that trains."""
    found = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            assert weight.grad is not None, name
            found[name] = weight.grad.clone()
    return found


@pytest.fixture(scope="module")
def exact(made_info: CheckpointInfo) -> Made:
    """In double precision, in which the order of a sum hardly rounds."""
    model, packer = model_of(made_info)
    return model.double(), packer


@pytest.mark.parametrize(
    "videos",
    [
        pytest.param([PROMPTS], id="one video"),
        pytest.param([PROMPTS[:3], PROMPTS], id="padded batch"),
        pytest.param([(RATINGS[0], rating("blur"), QUESTIONS[0])], id="a label is missing"),
    ],
)
def test_loss_and_gradients_are_those_of_asking_one_by_one(exact: Made, videos) -> None:
    loss, found = packed_at_once(exact, videos)
    expected_loss, expected = one_by_one(exact, videos)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert any("lora_A" in name for name in found)
    assert any("lora_B" in name for name in found)
    # That of the score head's last bias may be zero but for rounding, where signs cancel.
    assert sum(bool(gradient.norm() > 0) for gradient in expected.values()) >= len(expected) - 1
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() < 1e-5 * gradient.norm() + 1e-12, name


UNKNOWN = rating("blur")
ANY = (*PROMPTS, UNKNOWN)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    chosen=st.lists(
        st.lists(st.sampled_from(range(len(ANY))), min_size=1, max_size=6), min_size=1, max_size=3
    ),
    room=st.integers(0, 200),
)
def test_any_packing_has_the_loss_and_gradients_of_asking_one_by_one(
    exact: Made, chosen: list[list[int]], room: int
) -> None:
    """Whatever the order, count, lengths and padding, and in however many sequences."""
    model, packer = exact
    videos = [[RATINGS[0], *(ANY[index] for index in video)] for video in chosen]
    longest = max(len(packer.pack(LAYOUT, [p], learn=True).input_ids) for p in ANY)
    plans = [packer.plan(LAYOUT, prompts, longest + room, learn=True) for prompts in videos]
    packed = [packer.pack(LAYOUT, part, learn=True) for plan in plans for part in plan]
    owner = [number for number, plan in enumerate(plans) for _ in plan]
    batch = batch_of(packer, packed)
    batch["spatial"], batch["motion"] = (part[owner].double() for part in features_of(len(videos)))
    model.zero_grad()
    output = model(**batch)
    output.loss.backward()
    found = gradients(model)
    expected_loss, expected = one_by_one(exact, videos)
    assert output.loss.item() == pytest.approx(expected_loss, rel=1e-5)
    for name, gradient in expected.items():
        # A gradient may be zero but for rounding: that of the last bias, where signs cancel.
        assert (found[name] - gradient).norm() < 1e-5 * gradient.norm() + 1e-7, name


def test_dropout_draws_nothing_from_a_neighbours_text(made: Made) -> None:
    """With LoRA's dropout on, in one sequence, the same draws and another text beside it."""
    model, packer = made
    first, other = RATINGS[0], replace(RATINGS[1], text=RATINGS[1].text.replace("noise", "blur"))
    assert len(packer.encode(other.text)) == len(packer.encode(RATINGS[1].text))
    found = []
    model.train()
    try:
        for neighbour in (RATINGS[1], other):
            torch.manual_seed(0)
            packed = packer.pack(LAYOUT, [first, neighbour, RATINGS[2]], learn=True)
            with torch.no_grad():
                found.append(model(**batch_of(packer, [packed])).decisions[0])
    finally:
        model.eval()
    before, after = found
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert not torch.equal(before[1], after[1])
    with torch.no_grad():  # the draws were real
        plain = model(**batch_of(packer, [packed])).decisions[0]
    assert not torch.equal(plain[0], after[0])


def test_scores_are_not_rounded_by_autocast(made: Made) -> None:
    model, packer = made
    batch = batch_of(packer, [packer.pack(LAYOUT, PROMPTS, learn=True)])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = model(**batch)
    exact = model.score_head(output.decisions.float()).squeeze(-1)
    assert torch.equal(output.scores, exact)
    assert not torch.equal(output.scores, output.scores.bfloat16().float())


def test_batch_in_parts_adds_up_by_the_counts_of_the_whole(made: Made) -> None:
    model, packer = made
    packed = [packer.pack(LAYOUT, some, learn=True) for some in (PROMPTS, PROMPTS[:2])]
    batch = batch_of(packer, packed)
    whole = model(**batch)
    counts = loss_counts(batch["labels"], batch["targets"])
    parts = [
        model(**{name: tensor[row : row + 1] for name, tensor in batch.items()}, counts=counts)
        for row in range(2)
    ]
    total = sum(part.loss.item() for part in parts)
    assert total == pytest.approx(whole.loss.item(), rel=1e-5)


def test_language_loss_without_weight_is_left_out(made: Made) -> None:
    model, packer = made
    batch = batch_of(packer, [packer.pack(LAYOUT, PROMPTS, learn=True)])
    plain = model(**batch)
    model.language_weight = 0.0
    try:
        scored = model(**batch)
    finally:
        model.language_weight = 1.0
    assert torch.equal(scored.loss, plain.score_loss)
    assert scored.language_loss == 0


def test_model_looks_at_the_chosen_frames_and_clips_alone(made_info: CheckpointInfo) -> None:
    """One store serves all: features go in as stored, and what is not looked at does not matter."""
    whole, packer = model_of(made_info)
    fewer, picking = model_of(replace(made_info, spec=Spec(frames=1, clips=0)))
    fewer.load_state_dict(whole.state_dict())
    spatial, motion = features_of(1)
    frame = collate([packer.pack(Layout(1, 4, 0), RATINGS, learn=False)], pad_id=packer.pad_id)
    with torch.no_grad():
        expected = whole(spatial=spatial[:, 1:], motion=motion[:, :0], **frame).scores
        batch = batch_of(picking, [picking.pack(LAYOUT, RATINGS, learn=False)])
        torch.testing.assert_close(fewer(**batch).scores, expected)


def test_model_without_motion_trains_all_but_the_motion_projector(
    made_info: CheckpointInfo,
) -> None:
    # A weight without any gradient would stop training on several devices.
    model, packer = model_of(replace(made_info, spec=Spec(clips=0)))
    model(**batch_of(packer, [packer.pack(LAYOUT, PROMPTS, learn=True)])).loss.backward()
    for name, gradient in gradients(model).items():
        assert bool(gradient.norm() > 0) != name.startswith("motion_projector."), name


def test_rank_zero_is_the_plain_language_model(made_info: CheckpointInfo) -> None:
    plain, packer = model_of(replace(made_info, lora={"rank": 0, "alpha": 8, "dropout": 0.0}))
    adapted, _ = model_of(made_info)
    trained = {n for n, weight in plain.named_parameters() if weight.requires_grad}
    assert {name.split(".")[0] for name in trained} == {
        "spatial_projector",
        "motion_projector",
        "score_head",
    }
    for name in ("spatial_projector", "motion_projector", "score_head"):
        getattr(adapted, name).load_state_dict(getattr(plain, name).state_dict())
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.zero_()
    assert torch.equal(scores_of(plain, packer, RATINGS), scores_of(adapted, packer, RATINGS))


def test_score_weight_scales_the_score_loss_alone(made: Made) -> None:
    model, packer = made
    batch = batch_of(packer, [packer.pack(LAYOUT, PROMPTS, learn=True)])
    plain = model(**batch)
    model.score_weight = 3.0
    try:
        heavy = model(**batch)
    finally:
        model.score_weight = 1.0
    assert torch.equal(heavy.score_loss, plain.score_loss)
    assert torch.equal(heavy.language_loss, plain.language_loss)
    expected = float(plain.language_loss + 3 * plain.score_loss)
    assert heavy.loss.item() == pytest.approx(expected)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(range(len(PROMPTS))), min_size=1, max_size=12))
def test_scores_do_not_depend_on_order_count_and_company(made: Made, chosen: list[int]) -> None:
    alone = torch.cat([scores_of(*made, [PROMPTS[index]]) for index in chosen])
    together = scores_of(*made, [PROMPTS[index] for index in chosen])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_different_questions_get_different_scores(made: Made) -> None:
    # Else no test of independence could fail.
    scores = scores_of(*made, PROMPTS)
    assert len(scores.unique()) == len(PROMPTS)


def test_scores_do_not_depend_on_padding_and_other_videos(made: Made) -> None:
    model, packer = made
    short, long = (packer.pack(LAYOUT, some, learn=False) for some in (PROMPTS[:2], PROMPTS * 2))
    batch = batch_of(packer, [short, long])
    with torch.no_grad():
        together = model(**batch).scores
        for row, packed in enumerate((short, long)):
            alone = batch_of(packer, [packed])
            alone["spatial"], alone["motion"] = (
                batch[name][row : row + 1] for name in ("spatial", "motion")
            )
            expected = model(**alone).scores[0]
            count = len(packed.decisions)
            torch.testing.assert_close(together[row, :count], expected, rtol=0, atol=1e-5)


def test_text_of_a_neighbour_cannot_change_a_score(made: Made) -> None:
    model, packer = made
    packed = packer.pack(LAYOUT, PROMPTS, learn=False)
    batch = batch_of(packer, [packed])
    others = batch["segments"] == 3
    changed = batch | {"input_ids": batch["input_ids"].masked_fill(others, packer.encode("A")[0])}
    with torch.no_grad():
        before, after = model(**batch).scores[0], model(**changed).scores[0]
    kept = torch.arange(len(PROMPTS)) != 2
    torch.testing.assert_close(after[kept], before[kept], rtol=0, atol=1e-6)
    assert abs(after[2] - before[2]) > 1e-3


def test_both_features_change_every_score(made: Made) -> None:
    model, packer = made
    batch = batch_of(packer, [packer.pack(LAYOUT, RATINGS, learn=False)])
    with torch.no_grad():
        scores = model(**batch).scores
        for name in ("spatial", "motion"):
            other = model(**batch | {name: batch[name].flip(-1)}).scores
            assert (other - scores).abs().min() > 1e-5, name


def test_order_of_frames_and_tokens_is_kept(made: Made) -> None:
    model, packer = made
    packed = packer.pack(LAYOUT, RATINGS, learn=False)
    seen: list[Tensor] = []
    embed = model.language_model.get_base_model().model.layers[0]
    handle = embed.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append((*args, *kwargs.values())[0]), with_kwargs=True
    )
    batch = batch_of(packer, [packed])
    with handle, torch.no_grad():
        model(**batch)
        frames = model.spatial_projector(batch["spatial"][0].flatten(0, 1))
        clips = model.motion_projector(batch["motion"][0])
    places = packed.input_ids == packer.image_id
    torch.testing.assert_close(seen[0][0][places], torch.cat([frames, clips]))


def test_missing_label_gives_no_gradient(made: Made) -> None:
    model, packer = made
    prompts = [rating(prompt.item) for prompt in RATINGS]
    model.zero_grad()
    output = model(**batch_of(packer, [packer.pack(LAYOUT, prompts, learn=True)]))
    assert float(output.loss.detach()) == 0
    output.loss.backward()
    assert all(not weight.grad.any() for weight in model.parameters() if weight.grad is not None)


def test_target_without_label_leaves_the_other_scores_losses_alone(made: Made) -> None:
    model, packer = made
    prompts = (RATINGS[0], replace(RATINGS[1], target=None))
    output = model(**batch_of(packer, [packer.pack(LAYOUT, prompts, learn=True)]))
    score = float(output.scores[0, 0].detach())
    assert float(output.score_loss) == pytest.approx(abs(score - (RATINGS[0].target or 0)))


def test_only_projectors_adapter_and_score_head_train(made: Made) -> None:
    model, _ = made
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    rooms = ("spatial_projector.", "motion_projector.", "score_head.")
    assert all(name.startswith(rooms) or ".lora_" in name for name in trained)
    for room in rooms:
        assert any(name.startswith(room) for name in trained)
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert all(name.startswith("language_model.") and ".lora_" not in name for name in frozen)


def test_every_linear_layer_of_the_language_model_has_an_adapter(made: Made) -> None:
    names = [n for n, _ in made[0].named_parameters() if n.endswith("lora_A.default.weight")]
    layers = {name.split(".layers.")[1].split(".")[0] for name in names}
    kinds = {name.split(".")[-4] for name in names}
    assert kinds == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert len(names) == len(layers) * len(kinds)


def test_score_head_has_the_widths_of_the_official_model() -> None:
    widths = [
        (layer.in_features, layer.out_features)
        for layer in score_head(4096)
        if isinstance(layer, torch.nn.Linear)
    ]
    assert widths == [(4096, 1024), (1024, 256), (256, 64), (64, 16), (16, 1)]
    assert isinstance(score_head(4096)[-1], torch.nn.Linear)
