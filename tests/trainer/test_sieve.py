"""What curation leaves out besides lengths and duplicates: near ones, personal data, languages, one user's flood."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinking.format import THINK
from trainer.language import surely_other
from trainer.near import Near, runs
from trainer.personal import kinds, personal, redacted
from trainer.prompts import Prompt, has_pictures, is_heldout
from trainer.round_config import RoundConfig
from trainer.sieve import Sieve

CONFIG = RoundConfig(heldout_share=0.0)
LONG = "please write me a short and friendly email to my neighbour about the loud music of last night and this morning"


def said(text):
    return [{"role": "user", "content": text}]


def recorded(text, user="ann", day="2026-01-01"):
    return Prompt(said(text), "recorded", f"m-{text}", "c", user, day)


def sieve(gate=(), older=(), **changes):
    return Sieve(CONFIG.model_copy(update=changes), lambda messages: 5, gate, older)


def test_runs_of_words_by_hand():
    assert runs("Plan a Dinner, please!") == ["plan a dinner", "a dinner please"]
    assert runs("hello") == ["hello"]
    assert runs("") == [""]


def test_a_prompt_that_changes_one_word_is_nearly_a_duplicate():
    judge = sieve().judge
    assert judge(recorded(LONG)).kept
    again = judge(recorded(LONG.replace("morning", "evening")))  # 18 of 20 different runs are shared by both
    assert (again.kept, again.why) == (False, "nearly a duplicate")
    assert judge(recorded("please write me a short and friendly poem about my neighbour who plays the trumpet")).kept


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("请帮我给邻居写一封简短而友好的邮件，说说昨天晚上和今天早上很吵的音乐，问他能不能小声一点", ("早上", "中午")),
        ("昨日の夜と今朝うるさかった音楽について、隣の人に短くて丁寧なメールを書いてください", ("今朝", "今晩")),
        ("ช่วยเขียนอีเมลสั้นๆ ที่เป็นมิตรถึงเพื่อนบ้านของฉันเกี่ยวกับเสียงเพลงดังเมื่อคืนนี้และเช้าวันนี้ให้หน่อย", ("เช้า", "เย็น")),
    ],
)
def test_where_words_have_no_spaces_between_them_characters_are_compared(text, other):
    judge = sieve().judge
    assert judge(recorded(text)).kept
    assert judge(recorded(text.replace(*other))).why == "nearly a duplicate"
    assert judge(recorded(text[: len(text) // 2])).kept
    assert runs("给我写 a poem") == ["给 我 写", "我 写 a", "写 a poem"]


def test_with_1_only_the_same_words_count():
    judge = sieve(near_duplicates=1.0).judge
    assert judge(recorded(LONG)).kept
    assert judge(recorded(LONG.replace("morning", "evening"))).kept


def test_nearness_is_found_whatever_else_was_seen():
    near = Near(0.8)
    for number in range(300):
        near.add(f"question {number} about the planet number {number * 7} and its {number} moons")
    number = near.add(LONG)
    assert near.find(LONG.replace("morning", "evening")) == number
    assert near.find("something else altogether that nobody has asked before in this place") is None


def test_what_is_nearly_the_gates_is_never_trained_on():
    judge = sieve(gate=[Prompt(said(LONG), "mix")]).judge
    verdict = judge(recorded(LONG.replace("morning", "evening")))
    assert (verdict.kept, verdict.why) == (False, "nearly the same as the gate's")


def held_and_free():
    """Two texts that nearly say the same, the first held out by its hash and the second not."""
    for number in range(500):
        one, other = (f"{number} {LONG} {word}" for word in ("today", "tonight"))
        if is_heldout(said(one), 0.5) and not is_heldout(said(other), 0.5):
            return one, other
    raise AssertionError("there is none")


@pytest.mark.parametrize("held_first", [True, False])
def test_the_older_of_two_near_prompts_decides_and_the_other_is_left(held_first):
    held, free = held_and_free()
    old, new = (recorded(held), recorded(free)) if held_first else (recorded(free), recorded(held))
    judge = sieve(older=[new, old], heldout_share=0.5).judge  # the record comes newest first
    of_new, of_old = judge(new), judge(old)
    assert of_old.kept
    assert of_new.why == f"nearly the same as {'a held-out one' if held_first else 'one that can be trained on'}"


def test_one_user_cannot_fill_a_round_in_a_day():
    judge = sieve(per_user_daily_cap=2).judge
    words = ["dinner plan", "garden tips", "poem please", "travel idea", "math quiz"]
    first = [judge(recorded(word)) for word in words[:3]]
    assert [verdict.kept for verdict in first] == [True, True, False]
    assert first[2].why == "its user has 2 of that day already"
    assert judge(recorded(words[3], day="2026-01-02")).kept
    assert judge(recorded(words[4], user="bob")).kept


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to jane.doe+news@mail.example.org please", "email"),
        ("my number is +44 20 7946 0958, call me", "phone"),
        ("call (415) 555-2671 today", "phone"),
        ("pay to DE89 3704 0044 0532 0130 00 now", "account"),
        ("my card 4111 1111 1111 1111 was stolen", "card"),
        ("my number is 536-90-4399", "ssn"),
        ("ping 81.2.69.142 for me", "ip"),
        ("use the key sk-abcdefghijklmnopqrstuvwx", "key"),
        ("card 4111 1111 1111 1111 12/29", "card"),
        ("amex 3782 822463 10005", "card"),
    ],
)
def test_personal_data_is_found_and_taken_out(text, kind):
    assert kinds(said(text)) == [kind]
    clean = redacted(said(text))
    assert f"[{kind}]" in clean[0]["content"]
    assert kinds(clean) == []


@pytest.mark.parametrize(
    "text",
    [
        "in 1999-2003 we sold 1234567 units at 3.50 each", "version 1.2.3.4 of the library", "192.168.0.1 is my router",
        "card 4111 1111 1111 1112 has a wrong check digit", "DE88 3704 0044 0532 0130 00 is none either",
        "compute 2+2 and 10*10", "me at home @ 5pm", "order 66-12-3456789",
        "at 1538784000000 ms", "X = (1010101010101010101)", "doi 10.1177/2055668319862151", "Chrome/112.0.0.0 Safari",
        "rows 12 40 25 36 12 39 82 69 21 43 10 94 31 56 52", "HF=-1544.3162072",
    ],
)  # fmt: skip
def test_what_only_looks_like_it_stays(text):
    assert personal(text) == []
    assert redacted(said(text)) == said(text)


@given(st.text("a1 -+().@5", max_size=60))
def test_taking_out_leaves_the_rest_alone(text):
    spans = personal(text)
    assert all(one[1] <= other[0] for one, other in zip(spans, spans[1:], strict=False))
    rest = "".join(
        text[a:b] for a, b in zip([0, *(s[1] for s in spans)], [*(s[0] for s in spans), len(text)], strict=True)
    )
    clean = redacted(said(text))[0]["content"]
    for _, _, kind in spans:
        clean = clean.replace(f"[{kind}]", "", 1)
    assert clean == rest


def test_by_setting_personal_data_is_kept_redacted_or_a_reason_to_leave():
    text = "write to jane@example.org about dinner"
    assert sieve(personal_data="keep").judge(recorded(text)).prompt.messages == said(text)
    gone = sieve(personal_data="drop").judge(recorded(text))
    assert (gone.kept, gone.why) == (False, "personal data: email")
    clean = sieve().judge(recorded(text))
    assert (clean.kept, clean.why) == (True, "eligible; taken out: email")
    assert clean.prompt.messages == said("write to [email] about dinner")
    assert clean.prompt.message_id == f"m-{text}"  # still the person's: consent and deletion go by it


def test_taking_personal_data_out_hides_nothing_from_the_split():
    mail = "write to {} about the rent"
    judge = sieve(gate=[Prompt(said(mail.format("anna.lee@example.org")), "mix")]).judge
    assert judge(recorded(mail.format("anna.lee@example.org"))).why == "the gate's prompts begin the same way"
    assert judge(recorded(mail.format("bob@example.org"))).why == "nearly the same as the gate's"  # without the address
    texts = [mail.format(f"anna{number}@example.org") for number in range(99)]
    held = next(text for text in texts if is_heldout(said(text), 0.5))
    free = next(text for text in texts if not is_heldout(said(text), 0.5))
    judge = sieve(older=[recorded(free), recorded(held)], heldout_share=0.5).judge
    assert judge(recorded(free)).why == "nearly the same as a held-out one"
    assert judge(recorded(held)).kept


def test_a_language_that_is_not_wanted_is_left_out_and_a_doubtful_one_is_not():
    german = "Bitte schreibe mir eine kurze Nachricht an meinen Nachbarn über die laute Musik."
    assert surely_other(german, "en") == "de"
    assert surely_other(german, "en, de") is None
    assert surely_other(german, "") is None
    assert surely_other("ja bitte", "en") is None
    assert surely_other(LONG, "en") is None
    assert sieve(languages="en").judge(recorded(german)).why == "its language is de"


@pytest.mark.parametrize(
    "text",
    [
        'Translate to English\n\n"かなり先までいったからこそのあっさリした距離感です、ほんとうに"',
        "Please rewrite this letter in English: Bitte schreibe mir eine kurze Nachricht über die laute Musik.",
        "Bitte schreibe mir eine kurze Nachricht über die laute Musik.\n\nPlease translate all of this text for me",
        "5 3 9 [0.03752,51.54115],[0.0387941,51.5400025],[0.039614,51.5392324] aaaaaaaa bbbbbbbbbbb cccccccc dddd",
    ],
)
def test_a_request_that_carries_another_language_or_none_is_kept(text):
    assert surely_other(text, "en") is None


def test_a_lesson_is_found_by_its_prompt_as_curation_leaves_it():
    from trainer.prompts import wording
    from trainer.sft import Lesson, by_prompt

    lesson = Lesson(said("write to jane@example.org about dinner"), "plan", "Dear Jane")
    kept = sieve().judge(Prompt(lesson.messages, "mix"))
    assert kept.prompt.messages != lesson.messages
    assert by_prompt([lesson])[wording(kept.prompt.messages)] is lesson
    sums = [replace(lesson, messages=[{"role": "user", "content": f"What is 7 {sign} 5?"}]) for sign in "+-"]
    assert [by_prompt(sums)[wording(one.messages)] for one in sums] == sums


class Letters:
    """A tokenizer whose tokens are characters."""

    eos_token_id = 0

    def __call__(self, text, **_):
        return {"input_ids": [ord(letter) for letter in text]}

    def apply_chat_template(self, messages, **_):
        return self(messages[-1]["content"])["input_ids"]


def test_a_lesson_does_not_say_what_curation_took_out_of_its_prompt(tmp_path):
    from trainer.sft import tokenized

    asked = said("write to jane@example.org, not to jane@example.org.uk, or call +44 20 7946 0958")
    thought = "the address is jane@example.org and the other jane@example.org.uk"
    response = "Dear Jane, (Cc: help@example.com) ring me at +44 20 7946 0958."
    file = tmp_path / "lessons.jsonl"
    file.write_text(json.dumps({"messages": asked, "thought": thought, "response": response}))
    work = SimpleNamespace(
        round_id=1, config=CONFIG, settings=SimpleNamespace(teacher_data=str(file)),
        reader=SimpleNamespace(tokenizer=Letters(), format=THINK),
    )  # fmt: skip

    def taught(prompt):
        (row,) = tokenized(work, [prompt])
        return "".join(chr(token) for token in row["input_ids"] if token)

    left = sieve().judge(Prompt(asked, "mix")).prompt
    assert taught(left) == (
        "write to [email], not to [email], or call [phone]<think>\nthe address is [email] and the other [email]\n"
        "</think>\n\nDear Jane, (Cc: help@example.com) ring me at [phone]."  # what the teacher says of itself stays
    )
    kept = sieve(personal_data="keep").judge(Prompt(asked, "mix")).prompt
    assert taught(kept) == f"{asked[0]['content']}<think>\n{thought}\n</think>\n\n{response}"


def test_what_was_asked_about_a_picture_is_not_learnt_from_without_it():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    asked = [{"role": "user", "content": [picture, {"type": "text", "text": LONG}]}]
    assert has_pictures(asked)
    assert not has_pictures(said(LONG))
    assert not has_pictures([{"role": "user", "content": [{"type": "text", "text": LONG}]}])
    verdict = sieve().judge(replace(recorded(LONG), pictures=has_pictures(asked)))
    assert (verdict.kept, verdict.why) == (False, "it holds more than text, which rounds do not learn from")
