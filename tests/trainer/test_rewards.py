"""What a completion earns: no thought is ever scored, and nothing malformed beats anything well-formed."""

import math
from copy import deepcopy as copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_policy import make_classifier, prompt

from thinking.format import FORMATS, THINK, ZERO, Ending
from trainer.policy import eos_ids, load_tokenizer
from trainer.rewards import Reader, SequenceClassifier, grade, rank_malformed
from trainer.transcript import Transcript

scores = st.one_of(st.none(), st.floats(-50, 50))


class Listens:
    """A reward model that remembers what it was shown."""

    def __init__(self):
        self.heard = []

    def score(self, pairs):
        self.heard += [response for _, response in pairs]
        return [float(len(response)) for _, response in pairs]


@given(st.lists(st.lists(scores, min_size=4, max_size=4), min_size=1, max_size=6), st.floats(0.01, 5))
def test_a_malformed_output_is_below_every_well_formed_one_of_its_group(groups, margin):
    rewards = rank_malformed([score for group in groups for score in group], 4, margin)
    for place, group in enumerate(groups):
        own = rewards[4 * place : 4 * place + 4]
        well = [reward for reward, score in zip(own, group, strict=True) if score is not None]
        malformed = [reward for reward, score in zip(own, group, strict=True) if score is None]
        assert well == [score for score in group if score is not None]
        assert not well or all(reward < min(well) for reward in malformed)
        assert len(set(malformed)) <= 1


def test_by_hand():
    assert rank_malformed([3.0, None, 1.0, 2.0, None, None, None, None], 4, 0.5) == [3, 0.5, 1, 2, 0.5, 0.5, 0.5, 0.5]


def test_a_margin_that_does_not_separate_is_refused():
    with pytest.raises(ValueError, match="margin = 0"):
        rank_malformed([1.0, None], 2, 0)


def test_the_reward_model_sees_responses_only_and_of_well_formed_outputs_only():
    texts = [THINK.render("secret plan", "hello"), "<think>\nsecret, cut", "no thought", "<think>\na\n</think>\n\n"]
    outputs = [THINK.parse(text, finished=text != texts[1]) for text in texts]
    model = Listens()
    graded = grade(model, [prompt(1)] * 4, outputs, 4, 1.0)
    assert model.heard == ["hello"]
    assert [one.reward for one in graded] == [5.0, 4.0, 4.0, 4.0]


def test_a_model_that_returns_too_few_scores_is_an_error():
    class Lazy:
        def score(self, pairs):
            return []

    with pytest.raises(ValueError, match="given 1 responses and returned 0"):
        grade(Lazy(), [prompt(1)], [THINK.parse("<think>\na\n</think>\n\nb", True)], 1, 1.0)


class Says:
    """A reward model that says these scores."""

    title = "models/broken"

    def __init__(self, *scores):
        self.scores = scores

    def score(self, pairs):
        return list(self.scores[: len(pairs)])


@pytest.mark.parametrize("none", [math.nan, math.inf, -math.inf])
def test_an_answer_without_a_number_earns_as_little_as_a_malformed_one_and_a_model_of_many_is_named(none):
    outputs = [THINK.parse("<think>\na\n</think>\n\nb", True)] * 8
    graded = grade(Says(3.0, none, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0), [prompt(1)] * 8, outputs, 4, 0.5)
    assert [one.reward for one in graded] == [3.0, 0.5, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match=r"models/broken gave (nan|-?inf) for 2 of 8 responses"):
        grade(Says(*[1.0] * 6, none, none), [prompt(1)] * 8, outputs, 4, 0.5)


@pytest.fixture(scope="module")
def reader(policy):
    tokenizer = load_tokenizer(policy, "chatml")
    return Reader(tokenizer, FORMATS["think"], eos_ids(tokenizer, policy))


def test_reading_starts_from_token_ids(reader):
    ids = reader.tokenizer(THINK.render("plan cat", "red fox"))["input_ids"]
    parsed = reader.read([*ids, reader.tokenizer.eos_token_id], finished=True)
    assert (parsed.reasoning, parsed.response, parsed.ending) == ("plan cat", "red fox", Ending.COMPLETE)


def test_a_completion_that_ran_out_of_tokens_is_malformed(reader):
    ids = reader.tokenizer(THINK.render("plan cat", "red fox"))["input_ids"]
    assert not reader.read(ids, finished=False).well_formed


def test_a_control_token_inside_makes_a_completion_malformed(reader):
    ids = reader.tokenizer(THINK.render("plan", "red"))["input_ids"]
    inside = reader.tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert not reader.read([*ids, inside, *ids, reader.tokenizer.eos_token_id], finished=True).well_formed


def test_a_classifier_scores_each_pair_by_itself_whatever_the_batch(policy, tmp_path):
    path = make_classifier(policy, tmp_path / "reward", seed=5)
    pairs = [(prompt(number), "red " * (number + 1)) for number in range(7)]
    alone = [score for pair in pairs for score in SequenceClassifier(path).score([pair])]
    assert SequenceClassifier(path, batch=3).score(pairs) == pytest.approx(alone, abs=1e-5)
    assert len(set(alone)) == 7


STRICT = (
    "{% for message in messages %}"
    "{% if message.role != ['user', 'assistant'][loop.index0 % 2] %}{{ raise_exception('turns must alternate') }}"
    "{% endif %}{{ message.role + ' ' + message.content + '\n' }}{% endfor %}"
)


def test_a_conversation_that_a_models_template_refuses_is_read_in_turns(policy, tmp_path):
    written = Transcript(make_classifier(policy, tmp_path / "reward", seed=5))
    written.tokenizer.chat_template = STRICT
    asked = [
        {"role": "system", "content": "be red"},
        {"role": "user", "content": "tell"},
        {"role": "assistant", "content": "fox"},
        {"role": "user", "content": "name"},
        {"role": "user", "content": "list"},
    ]
    told = written.tokenizer.decode(written.ids(asked, "owl"))
    assert told == "user be red\n\ntell\nassistant fox\nuser name\n\nlist\nassistant owl\n"
    plain = written.tokenizer.decode(written.ids(prompt(1), "owl"))
    assert plain == f"user {prompt(1)[0]['content']}\nassistant owl\n"


def test_a_classifier_keeps_the_end_of_what_is_too_long(policy, tmp_path):
    path = make_classifier(policy, tmp_path / "reward", seed=5)
    model = SequenceClassifier(path, max_tokens=16)
    long = [{"role": "user", "content": "tell red cat " * 50}]
    assert model.score([(long, "red fox")]) != model.score([(long, "blue owl")])


def test_a_classifier_with_two_labels_is_refused(policy, tmp_path):
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForSequenceClassification

    Qwen3ForSequenceClassification(Qwen3Config.from_pretrained(policy, num_labels=2)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(policy).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="2 labels"):
        SequenceClassifier(tmp_path)


def test_what_the_token_of_the_stop_text_says_beyond_it_is_no_part_of_the_answer(policy):
    tokenizer = load_tokenizer(policy, "zero")
    reader = Reader(tokenizer, ZERO, eos_ids(tokenizer, policy))
    ids = tokenizer(" " + ZERO.render("plan", "red red"), add_special_tokens=False)["input_ids"]
    assert reader.read(ids, True).well_formed
    extended = copy(tokenizer)
    extended.add_tokens([">Us"])  # in large vocabularies a token goes on beyond a tag

    glued = [*ids[:-1], extended.convert_tokens_to_ids(">Us")]
    assert extended.decode(glued).endswith("</response>Us")
    grown = Reader(extended, ZERO, reader.eos_ids)
    assert grown.read(glued, True) == reader.read(ids, True)
    more = tokenizer(" more", add_special_tokens=False)["input_ids"]
    assert reader.read([*ids, *more], True).ending is Ending.MALFORMED  # text that the engine would not have let by
