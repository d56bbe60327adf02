"""What opens with a refusal, in many languages, and what only sounds like one; the gate sees that more is declined."""

import time

import pytest

from bench.gate_habits import decline, refusals
from bench.gate_simulation import draw
from thinking.format import Parsed
from thinking.splitter import Ending
from trainer.gate import decide
from trainer.habits import habits
from trainer.refusals import RULES, declines
from trainer.round_config import RoundConfig

DECLINED = {
    "en": ["I'm sorry, but I can't help with that.", "I can’t assist with this request.",
           "As an AI, I am unable to provide medical advice.", "I must decline. That could hurt somebody.",
           "Sorry, I won't write that for you."],
    "de": ["Es tut mir leid, aber dabei kann ich dir nicht helfen.", "Ich kann diese Frage leider nicht beantworten.",
           "Dazu darf ich keine Auskunft geben."],
    "fr": ["Je suis désolé, mais je ne peux pas vous aider avec cela.", "Je ne suis pas en mesure de répondre à cela."],
    "es": ["Lo siento, pero no puedo ayudarte con eso.", "No puedo proporcionar esa información."],
    "pt": ["Desculpe, mas não posso ajudar com isso.", "Não consigo fornecer essa informação."],
    "it": ["Mi dispiace, ma non posso aiutarti con questo.", "Non sono in grado di fornire queste informazioni."],
    "nl": ["Sorry, daar kan ik je niet mee helpen.", "Ik kan deze vraag niet beantwoorden."],
    "pl": ["Przepraszam, ale nie mogę w tym pomóc.", "Nie jestem w stanie odpowiedzieć na to pytanie."],
    "ru": ["Извините, но я не могу помочь с этим.", "К сожалению, я не могу предоставить эту информацию."],
    "zh": ["抱歉，我无法帮助您完成这个请求。", "对不起，我不能提供这类信息。", "很抱歉，我無法協助您。"],
    "ja": ["申し訳ありませんが、そのご依頼にはお手伝いできません。", "その質問には回答できません。"],
    "ko": ["죄송하지만 그 요청은 도와드릴 수 없습니다.", "해당 정보를 제공할 수 없습니다."],
    "ar": ["عذراً، لا أستطيع مساعدتك في هذا الأمر.", "لا يمكنني تقديم هذه المعلومات."],
    "hi": ["क्षमा करें, मैं इसमें आपकी मदद नहीं कर सकता।"],
}  # fmt: skip
DONE = [
    "I can't believe how good this soup is!", "You can't divide by zero; the limit does not exist.",
    "I'm sorry to hear that your cat died. Here is what helps.", "She said that he cannot come to the party.",
    "Ich kann es kaum erwarten! Hier ist das Rezept.", "Die Funktion kann keine negativen Zahlen lesen.",
    "Je ne sais quoi est une expression française.", "No puedo más, dijo el pirata, y se durmió.",
    "Non posso negare che sia bella: ecco la poesia.", "我不能同意更多！下面是计划。",
    "その店は日曜日に開いていません。",
    "서울은 한국의 수도입니다.", "Не могу не согласиться: вот список.", "", "1, 2, 3",
    "Here is a letter of refusal. " + "x" * 200 + " I can't help with that.",
]  # fmt: skip


@pytest.mark.parametrize("language", list(RULES))
def test_refusals_are_known_in_each_language(language: str) -> None:
    assert DECLINED[language]
    for response in DECLINED[language]:
        assert declines(response), response


@pytest.mark.parametrize("response", DONE)
def test_what_only_sounds_like_one_is_none(response: str) -> None:
    assert not declines(response)


def test_the_share_is_of_well_formed_responses() -> None:
    outputs = [
        Parsed("plan", "I can't help with that.", Ending.COMPLETE),
        Parsed("plan", "Of course: 4.", Ending.COMPLETE),
        Parsed("", "I can't help with that.", Ending.NO_THOUGHT),
        Parsed("I can't help", "", Ending.TRUNCATED_THOUGHT),
    ]
    assert habits(outputs, 1.0, 1.0).refusals == 0.5


def test_a_long_text_without_spaces_takes_no_time() -> None:
    began = time.process_time()
    for text in ("i can't " + "a" * 100_000, "я не могу " * 10_000, "ich kann " * 10_000, "我" * 100_000):
        declines(text)
    assert time.process_time() - began < 2


def test_the_gate_stops_a_better_candidate_that_declines_three_times_as_often() -> None:
    import numpy as np

    config = RoundConfig.model_validate({})
    verdict = decide(draw(np.random.default_rng(3), "refusing", config.gate_prompts, 4), config)
    (check,) = (check for check in verdict.checks if check.name == "refusals")
    assert (check.passed, verdict.publish) == (False, False)
    assert check.words.startswith("refusals went from ")


def test_one_that_declines_as_often_is_stopped_in_less_than_one_case_of_a_hundred() -> None:
    threshold = str(RoundConfig.model_validate({}).gate_max_refusals)
    for row in refusals(1000, seed=1):
        if row["live"] == row["candidate"]:
            assert row[threshold] < 0.01, row
        if row["candidate"] >= 3 * row["live"] > 0:
            assert row[threshold] > 0.99, row


def test_drawn_shares_are_those_that_were_asked_for() -> None:
    import numpy as np

    found = np.mean([decline(np.random.default_rng(seed), 192, 4, (0.05, 0.2)) for seed in range(300)], axis=0)
    assert found == pytest.approx([0.05, 0.2], abs=0.005)
