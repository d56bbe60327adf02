"""What a reward model is taught to read before it scores: places, values and verdicts of the checklist."""

import itertools
import random
from collections import Counter

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from models.critic import findings, reading_rows, readings, seen_before
from models.pairs import world_pairs
from models.tokens import CHECKLIST, key
from models.train_policy import content_tokens
from models.world.talk import Example, example
from thinking.templates import template_text

ASKED = ({"role": "user", "content": "Tell me a story about a fox in a village. Call the hero Pablo."},)
TOLD = "A fox left its den. The name of our hero was Oskar. All this happened in a village. The fox was home at last."


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained("models/tiny/reward")


def test_after_each_word_of_the_list_stand_the_value_and_the_verdict(tokenizer: PreTrainedTokenizerBase) -> None:
    [row] = reading_rows(tokenizer, [Example(ASKED, "", TOLD, "tossed", "story")])
    text = [tokenizer.decode([token]) for token in row.ids]
    wanted = {place: tokenizer.decode([token]) for place, token in enumerate(row.wanted) if token != -100}
    name, place = (len(text) - 1 - text[::-1].index(word) for word in (" name", " place"))
    assert (wanted[name], wanted[place]) == (" Pablo", " village")
    found, mark = findings(ASKED, TOLD)
    verdicts = dict(zip(CHECKLIST, found, strict=True))
    assert [verdicts[word].verdict for word in ("name", "place", "budget")] == ["missed", "met", "unasked"]
    assert wanted[name + 1] != wanted[place + 1]  # the commas: missed and met
    assert wanted[len(text) - 1] == str(mark)
    assert {name, place, name + 1, place + 1, len(text) - 1} <= set(row.heavy)


def test_a_word_of_the_response_is_known_from_the_user_from_an_earlier_answer_or_new(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    talk = [
        *ASKED,
        {"role": "assistant", "content": "There is a garden."},
        {"role": "user", "content": "Mention the moon."},
    ]
    talk.append({"role": "assistant", "content": "The moon in a garden with a lemon."})
    text = tokenizer.apply_chat_template(talk, tokenize=False, chat_template=template_text("chatml"))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    seen = seen_before(tokenizer, ids, len(ids), content_tokens(tokenizer))
    words = {tokenizer.decode([ids[place]]).strip(): where for place, where in seen.items()}
    assert {word: words[word] for word in ("moon", "garden", "lemon")} == {
        "moon": "met",
        "garden": "missed",
        "lemon": "unasked",
    }


def test_wishes_that_people_rarely_have_are_read_as_often_as_others() -> None:
    rng, read, drawn = random.Random(5), Counter[str](), Counter[str]()
    for one in itertools.islice(readings(5, set()), 1500):
        found, _ = findings(one.messages, one.response)
        read.update(word for word, finding in zip(CHECKLIST, found, strict=True) if finding.verdict != "unasked")
        request = example(rng).request
        drawn.update(wish.name for wish in (request.constraints if request else ()))
    rare = [name for name, times in drawn.items() if times < 100]
    assert rare
    assert all(read[name] > 1.3 * drawn[name] for name in rare)


def test_pairs_keep_out_the_held_out_prompts() -> None:
    held = {key(pair.messages) for pair in world_pairs(20, 3, set())}
    assert not held & {key(pair.messages) for pair in world_pairs(20, 3, held)}
