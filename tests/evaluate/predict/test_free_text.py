"""Free text: what is written together from a cache is what would be written alone without one."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from finevq.errors import ConfigError
from finevq.evaluate.predict.free_text import greedy
from finevq.evaluate.predict.predictor import Inputs, Predictor
from finevq.train.model.finevq import FineVQ
from finevq.train.model.packing import Packer
from finevq.train.prompts import TURN_END, Prompt

from ...train._made import LAYOUT, PROMPTS, batch_of, features_of, model_of
from ...train._published import write_internvl2
from ...train.base.test_language_model import write_native

LIMIT = 12


@pytest.fixture(scope="module")
def made(made_info) -> tuple[FineVQ, Packer]:
    return model_of(made_info)


@pytest.fixture
def predictor(made) -> Predictor:
    return Predictor(*made, torch.device("cpu"), free_text=LIMIT)


def videos(*asked: Sequence[Prompt]) -> list[Inputs]:
    spatial, motion = (features.numpy() for features in features_of(len(asked)))
    return list(zip(spatial, motion, asked, strict=True))


def alone(made, video: Inputs, prompt: Prompt) -> list[int]:
    """Token ids, by reading the whole plain text anew for each of them."""
    model, packer = made
    spatial, motion, _ = video
    text = packer.chat.question(prompt)
    start = [*packer.prefix(LAYOUT), *packer.encode(text)]
    ids = list(start)
    while len(ids) < len(start) + LIMIT:
        with torch.no_grad():
            output = model(
                spatial=torch.from_numpy(spatial)[None],
                motion=torch.from_numpy(motion)[None],
                input_ids=torch.tensor([ids]),
                positions=torch.arange(len(ids))[None],
                segments=torch.zeros(1, len(ids), dtype=torch.int64),
                decisions=torch.tensor([[len(ids) - 1]]),
            )
        logits = model.vocabulary(output.decisions)
        logits[..., packer.image_id] = -torch.inf
        token = int(logits.argmax())
        if [token] == packer.encode(TURN_END):
            break
        ids.append(token)
    return ids[len(start) :]


@pytest.mark.parametrize("max_tokens", [4096, 120], ids=["one sequence", "several"])
def test_text_is_that_of_the_question_alone_without_a_cache(
    made, predictor, monkeypatch, max_tokens: int
) -> None:
    monkeypatch.setattr(predictor, "max_tokens", max_tokens)
    batch = videos(PROMPTS, PROMPTS[:1], PROMPTS[5:])  # padding in two of them
    texts = set()
    for video, answers in zip(batch, predictor.answer_all(batch), strict=True):
        for prompt, answer in zip(video[2], answers, strict=True):
            assert answer.generated == made[1].tokenizer.decode(alone(made, video, prompt))
            texts.add(answer.generated)
    assert len(texts) > 2


@pytest.mark.parametrize("kind", ["internlm2", "qwen2", "qwen3"])
def test_text_from_the_cache_of_a_published_base(made_info, tmp_path: Path, kind: str) -> None:
    if kind == "internlm2":
        write_internvl2(tmp_path)
    else:
        write_native(tmp_path, kind)
    made = model_of(replace(made_info, base=str(tmp_path)))
    predictor = Predictor(*made, torch.device("cpu"), free_text=LIMIT)
    (video,) = videos(PROMPTS)
    for prompt, answer in zip(PROMPTS, predictor.answer(*video), strict=True):
        assert answer.generated == made[1].tokenizer.decode(alone(made, video, prompt))


def test_choices_and_scores_do_not_depend_on_it(made, predictor) -> None:
    batch = videos(PROMPTS, PROMPTS[:1])
    without = Predictor(*made, torch.device("cpu")).answer_all(batch)
    found = predictor.answer_all(batch)
    assert [[replace(a, generated=None) for a in row] for row in found] == without


def asked(packer: Packer, prompts: Sequence[Prompt]) -> dict[str, torch.Tensor]:
    unled = [replace(prompt, stem="") for prompt in prompts]
    return batch_of(packer, [packer.pack(LAYOUT, unled, learn=False)])


def test_text_ends_where_the_turn_does(made) -> None:
    model, packer = made
    batch = asked(packer, PROMPTS)
    (whole,) = greedy(model, batch, stop=-1, limit=LIMIT)
    stop = whole[0][LIMIT // 2]
    (found,) = greedy(model, batch, stop=stop, limit=LIMIT)
    assert len(found[0]) <= LIMIT // 2
    for ids, cut in zip(whole, found, strict=True):
        assert cut == (ids[: ids.index(stop)] if stop in ids else ids)


@pytest.fixture
def lengths(made) -> Iterator[list[int]]:
    """How many tokens a video each pass of the language model reads."""
    found: list[int] = []
    hook = (
        made[0]
        .language_model.get_decoder()
        .register_forward_hook(
            lambda module, given, output: found.append(output.last_hidden_state.shape[1])
        )
    )
    yield found
    hook.remove()


def test_the_prefix_is_read_once_and_then_a_token_a_question(made, lengths) -> None:
    model, packer = made
    batch = asked(packer, PROMPTS[:3])
    greedy(model, batch, stop=-1, limit=LIMIT)
    assert lengths == [batch["input_ids"].shape[1]] + [3] * (LIMIT - 1)


def test_nothing_is_read_after_the_last_text_has_ended(made, lengths) -> None:
    model, packer = made
    batch = asked(packer, PROMPTS[:1])
    ((ids,),) = greedy(model, batch, stop=-1, limit=LIMIT)
    lengths.clear()
    greedy(model, batch, stop=ids[0], limit=LIMIT)
    assert len(lengths) == 1


def test_question_that_a_video_does_not_have_has_no_text(made) -> None:
    model, packer = made
    packed = [packer.pack(LAYOUT, some, learn=False) for some in (PROMPTS, PROMPTS[:1])]
    _, few = greedy(model, batch_of(packer, packed), stop=-1, limit=2)
    assert [len(ids) for ids in few] == [2] + [0] * (len(PROMPTS) - 1)


def test_more_tokens_than_the_base_model_reads_are_refused(predictor, monkeypatch) -> None:
    monkeypatch.setattr(predictor.packer, "max_positions", 100)
    room = 100 - max(
        len(predictor.packer.pack(LAYOUT, [replace(p, stem="")], learn=False).input_ids)
        for p in PROMPTS
    )
    monkeypatch.setattr(predictor, "free_text", room)
    predictor.answer_all(videos(PROMPTS))
    monkeypatch.setattr(predictor, "free_text", room + 1)
    with pytest.raises(ConfigError, match=rf"free_text = {room + 1}: .* room for {room} tokens"):
        predictor.answer_all(videos(PROMPTS))


def test_an_answer_that_was_learned_is_written(made_info) -> None:
    model, packer = model_of(made_info)
    prompts = PROMPTS[5:]
    (video,) = videos(prompts)
    batch = batch_of(packer, [packer.pack(LAYOUT, prompts, learn=True)])
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=5e-3)
    for _ in range(40):
        loss = model(**batch).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    predictor = Predictor(model, packer, torch.device("cpu"), free_text=LIMIT)
    for prompt, answer in zip(prompts, predictor.answer(*video), strict=True):
        assert answer.generated == prompt.reply(prompt.answer)
