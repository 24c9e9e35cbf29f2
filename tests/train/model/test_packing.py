"""Packing: a question reads the prefix and itself, whatever stands beside it."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finevq.errors import CheckpointError
from finevq.train.base.embedded import embedded_chat, embedded_tokenizer
from finevq.train.model.packing import (
    IGNORE,
    PADDING,
    Layout,
    Packer,
    attention_mask,
    collate,
)
from finevq.train.model.spec import Spec, selected_indices
from finevq.train.prompts import TURN_END, Prompt, rating

from .._made import LAYOUT, PROMPTS, QUESTIONS, RATINGS


@pytest.fixture(scope="module")
def packer() -> Packer:
    return Packer(embedded_tokenizer(), embedded_chat(), 32768)


def test_each_token_sees_the_prefix_and_its_own_question_up_to_itself() -> None:
    segments = torch.tensor([[0, 0, 1, 1, 2, PADDING]])
    seen = [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]
    mask = attention_mask(segments)
    assert mask.shape == (1, 1, 6, 6)
    assert mask[0, 0, :5].int().tolist() == seen[:5]
    assert mask[0, 0, 5, 5]  # a row without any True is NaN after the softmax
    assert not mask[0, 0, :5, 5].any()


@pytest.mark.parametrize("learn", [True, False])
def test_packed_tokens_are_those_of_the_whole_text(packer: Packer, learn: bool) -> None:
    start = packer.chat.prefix(LAYOUT.frames, LAYOUT.tokens, LAYOUT.clips)
    for prompt in PROMPTS:
        reply = prompt.reply(prompt.answer or "") + TURN_END if learn else prompt.stem
        whole = packer.encode(start + packer.chat.question(prompt) + reply)
        assert packer.pack(LAYOUT, [prompt], learn=learn).input_ids.tolist() == whole


def test_questions_lie_one_after_another_behind_one_prefix(packer: Packer) -> None:
    length = len(packer.prefix(LAYOUT))
    alone = [packer.pack(LAYOUT, [prompt], learn=True) for prompt in PROMPTS]
    packed = packer.pack(LAYOUT, PROMPTS, learn=True)
    for field in ("input_ids", "positions", "labels"):
        behind = [getattr(one, field)[length:] for one in alone]
        assert torch.equal(getattr(packed, field)[length:], torch.cat(behind))
    assert packed.segments.unique(return_counts=True)[1].tolist() == [
        length,
        *(len(one.input_ids) - length for one in alone),
    ]


def test_positions_of_every_question_start_at_the_prefix_length(packer: Packer) -> None:
    length = len(packer.prefix(LAYOUT))
    packed = packer.pack(LAYOUT, PROMPTS, learn=True)
    assert packed.positions[:length].tolist() == list(range(length))
    for number in range(1, len(PROMPTS) + 1):
        positions = packed.positions[packed.segments == number].tolist()
        assert positions == list(range(length, length + len(positions)))


def test_prefix_has_a_placeholder_for_every_visual_token(packer: Packer) -> None:
    for layout in (Layout(1, 1, 1), Layout(8, 64, 2), Layout(3, 5, 7)):
        count = packer.prefix(layout).count(packer.image_id)
        assert count == layout.frames * layout.tokens + layout.clips


def test_no_text_makes_a_visual_placeholder_of_its_own(packer: Packer) -> None:
    assert (
        packer.image_id
        not in packer.pack(LAYOUT, PROMPTS, learn=True).input_ids[len(packer.prefix(LAYOUT)) :]
    )


@pytest.mark.parametrize("learn", [True, False])
def test_decision_is_the_token_before_the_option(packer: Packer, learn: bool) -> None:
    packed = packer.pack(LAYOUT, PROMPTS, learn=learn)
    for number, (prompt, at) in enumerate(zip(PROMPTS, packed.decisions.tolist(), strict=True), 1):
        assert packed.segments[at] == number
        assert prompt.answer is not None
        right = packer.option_ids(prompt)[prompt.options.index(prompt.answer)]
        if learn:
            assert packed.input_ids[at + 1] == right
        else:  # the question ends where the choice is made
            ends = at + 1 == len(packed.input_ids) or packed.segments[at + 1] == number + 1
            assert ends


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    segments=st.lists(st.lists(st.integers(-1, 3), min_size=7, max_size=7), min_size=1, max_size=3),
    rows=st.integers(1, 7),
)
def test_mask_of_the_last_rows_is_the_end_of_the_whole_mask(segments, rows: int) -> None:
    whole = attention_mask(torch.tensor(segments))
    assert torch.equal(attention_mask(torch.tensor(segments), rows), whole[:, :, -rows:])


def test_decisions_do_not_depend_on_the_answer(packer: Packer) -> None:
    reply = packer.pack(LAYOUT, [RATINGS[0]], learn=True)
    asked = packer.pack(LAYOUT, [RATINGS[0]], learn=False)
    at = int(asked.decisions[0])
    assert torch.equal(reply.decisions, asked.decisions)
    assert torch.equal(reply.input_ids[: at + 1], asked.input_ids)


def test_labels_are_the_whole_answer_and_nothing_else(packer: Packer) -> None:
    for prompt in PROMPTS:
        packed = packer.pack(LAYOUT, [prompt], learn=True)
        learned = packed.labels != IGNORE
        answer = prompt.reply(prompt.answer or "") + TURN_END
        assert packer.tokenizer.decode(packed.labels[learned]) == answer
        assert torch.equal(packed.labels[learned], packed.input_ids[learned])


def test_prompt_without_answer_is_laid_out_and_not_labelled(packer: Packer) -> None:
    unknown = rating("blur")
    packed = packer.pack(LAYOUT, [RATINGS[0], unknown, QUESTIONS[0]], learn=True)
    its = packed.segments == 2
    asked = packer.encode(packer.chat.question(unknown) + unknown.stem)
    assert packed.input_ids[its].tolist() == asked
    assert (packed.labels[its] == IGNORE).all()
    assert packed.targets.isnan().tolist() == [False, True, True]
    assert packed.decisions[1] == its.nonzero().max()


def test_options_without_a_first_token_of_their_own_are_refused(packer: Packer) -> None:
    prompt = replace(QUESTIONS[0], options=("Yes", "Yes"))
    with pytest.raises(CheckpointError, match="does not tell the options Yes, Yes apart"):
        packer.option_ids(prompt)


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.item)
def test_options_have_different_first_tokens(packer: Packer, prompt: Prompt) -> None:
    assert len(set(packer.option_ids(prompt))) == len(prompt.options)


def test_padding_is_neither_seen_nor_learned(packer: Packer) -> None:
    packed = [packer.pack(LAYOUT, some, learn=True) for some in (PROMPTS, PROMPTS[:1])]
    batch = collate(packed, pad_id=packer.pad_id)
    length = len(packed[1].input_ids)
    assert batch["input_ids"].shape == (2, len(packed[0].input_ids))
    assert (batch["input_ids"][1, length:] == packer.pad_id).all()
    assert (batch["segments"][1, length:] == PADDING).all()
    assert (batch["labels"][1, length:] == IGNORE).all()
    assert batch["decisions"][1, 1:].tolist() == [-1] * (len(PROMPTS) - 1)
    assert batch["targets"][1, 1:].isnan().all()
    for field in ("input_ids", "positions", "segments", "labels"):
        assert torch.equal(batch[field][1, :length], getattr(packed[1], field))


@pytest.mark.parametrize(
    ("stored", "selection", "places"),
    [
        (8, "all", [0, 1, 2, 3, 4, 5, 6, 7]),
        (8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (8, 4, [1, 3, 5, 7]),
        (8, 1, [4]),
        (2, 0, []),
    ],
)
def test_selected_indices_are_spread_evenly(stored: int, selection, places: list[int]) -> None:
    assert selected_indices(stored, selection) == places


def test_prefix_has_placeholders_for_what_is_read_alone(packer: Packer) -> None:
    fewer = Packer(packer.tokenizer, packer.chat, 32768, Spec(frames=2, clips=1))
    assert fewer.prefix(Layout(8, 5, 3)) == packer.prefix(Layout(2, 5, 1))


def test_prefix_without_clips_says_nothing_of_motion(packer: Packer) -> None:
    string = packer.tokenizer.decode(packer.prefix(Layout(1, 2, 0)))
    assert "Frame1" in string
    assert "Motion" not in string


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    chosen=st.lists(st.sampled_from(range(len(PROMPTS))), min_size=1, max_size=20),
    room=st.integers(0, 300),
)
def test_plan_keeps_order_and_fills_each_sequence(
    packer: Packer, chosen: list[int], room: int
) -> None:
    prompts = [PROMPTS[index] for index in chosen]
    single = [len(packer.pack(LAYOUT, [prompt], learn=True).input_ids) for prompt in prompts]
    limit = max(single) + room
    plan = packer.plan(LAYOUT, prompts, limit, learn=True)
    assert [prompt for part in plan for prompt in part] == prompts
    lengths = [len(packer.pack(LAYOUT, part, learn=True).input_ids) for part in plan]
    assert max(lengths) <= limit
    prefix = len(packer.prefix(LAYOUT))
    first = 0
    for length, part in zip(lengths[:-1], plan, strict=False):
        first += len(part)
        assert length + single[first] - prefix > limit  # the next one did not fit


def test_question_that_does_not_fit_at_all_is_refused(packer: Packer) -> None:
    length = len(packer.pack(LAYOUT, [RATINGS[0]], learn=True).input_ids)
    message = rf"a sequence of {length}; set train\.max_tokens = {length - 1} to as many"
    with pytest.raises(CheckpointError, match=message):
        packer.plan(LAYOUT, [RATINGS[0]], length - 1, learn=True)


def test_sequence_that_the_base_model_cannot_read_is_refused_before_any_is_packed(
    packer: Packer,
) -> None:
    length = len(packer.pack(LAYOUT, RATINGS[:1], learn=True).input_ids)
    short = Packer(packer.tokenizer, packer.chat, length - 1)
    message = f"a sequence of {length} tokens; the base model reads {length - 1}"
    with pytest.raises(CheckpointError, match=message):
        short.plan(LAYOUT, RATINGS[:1], 4096, learn=True)
    with pytest.raises(CheckpointError, match=message):
        short.pack(LAYOUT, RATINGS[:1], learn=True)
    enough = Packer(packer.tokenizer, packer.chat, length)
    assert len(enough.plan(LAYOUT, RATINGS[:1], 4096, learn=True)) == 1
