"""Prompts: the wording that each base model, and each published FineVQ, was trained with."""

from dataclasses import replace

import pytest

from finevq.dataset.questions import Question
from finevq.train.prompts import INTERNVL2, INTERNVL2_5, SPECIAL, prompts_for, rating


def test_internvl2_turns_follow_each_other_without_a_newline() -> None:
    chat = replace(INTERNVL2, begin="<s>")
    assert chat.prefix(2, 3, 1) == (
        "<s><|im_start|>system\n"
        "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, "  # noqa: RUF001
        "是一个有用无害的人工智能助手。<|im_end|><|im_start|>user\n"
        "Frame1: <img><IMG_CONTEXT><IMG_CONTEXT><IMG_CONTEXT></img>\n"
        "Frame2: <img><IMG_CONTEXT><IMG_CONTEXT><IMG_CONTEXT></img>\n"
        "Motion Feature: <img><IMG_CONTEXT></img>"
    )
    asked = chat.question(rating("overall"))
    assert asked.endswith("quality of this video?<|im_end|><|im_start|>assistant\n")


def test_internvl2_5_turns_are_lines() -> None:
    assert INTERNVL2_5.prefix(1, 1, 1) == (
        "<|im_start|>system\n"
        "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的"  # noqa: RUF001
        "多模态大语言模型。<|im_end|>\n<|im_start|>user\n"
        "Frame1: <img><IMG_CONTEXT></img>\nMotion Feature: <img><IMG_CONTEXT></img>"
    )
    asked = INTERNVL2_5.question(rating("overall"))
    assert asked.endswith("quality of this video?<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("dimension", "text", "reply"),
    [
        (
            "overall",
            "<|video|> How would you rate the overall quality of this video?",
            "The overall quality of the video is good.",
        ),
        (
            "blur",
            "<|video|> Considering the blur dimension, how would you rate the quality of this "
            "video?",
            "The quality of this video is good.",
        ),
    ],
)
def test_official_profile_has_the_wording_of_the_published_data(
    dimension: str, text: str, reply: str
) -> None:
    prompt = rating(dimension, 0.7, "official")
    assert prompt.text == text
    assert prompt.answer == "good"
    assert prompt.reply(prompt.answer) == reply


def test_own_profile_names_the_dimension_where_the_score_is_read() -> None:
    assert rating("blur").stem == "Its quality in blur is"
    assert rating("overall").stem == "Its quality overall is"
    assert "<|video|>" not in rating("blur").text + rating("overall").text


def test_profile_is_that_of_all_prompts_of_a_video(make_dataset) -> None:
    dataset = make_dataset({"test": 1})
    video = next(iter(dataset))
    asked = [Question("yes-no blur", "Is there blur, [Yes] or [No]?", ("Yes", "No"), "No")]
    own = prompts_for(dataset, video, asked)
    official = prompts_for(dataset, video, asked, "official")
    assert [p.text for p in official] == [f"<|video|> {p.text}" for p in own]
    assert official[:6] == [rating(p.item, p.target, "official") for p in own[:6]]
    assert official[6].reply("No") == own[6].reply("No") == "No"


def test_tag_of_the_official_profile_is_no_special_token() -> None:
    assert "<|video|>" not in SPECIAL
