"""Rewards by rules: patterns, schemas and functions, and which rule holds for which row of a mix."""

import json
import subprocess
import sys
from statistics import fmean

import pytest
from support.tiny_policy import Reds, prompt

from trainer.prompts import wording
from trainer.verify import Check, Function, JsonSchema, Regex, RuleFailed, Verified, read_checks


def test_a_pattern_decides():
    number = Regex(kind="regex", pattern=r"\b{answer}\b")
    assert number.check(prompt(1), "it is 4.2", {"answer": "4.2"}) == 1.0
    assert number.check(prompt(1), "it is 492", {"answer": "4.2"}) == 0.0  # the answer is taken literally
    assert Regex(kind="regex", pattern="yes|no", whole=True).check(prompt(1), "yes indeed", {}) == 0.0


def test_a_pattern_that_takes_for_ever_is_no_match(monkeypatch):
    monkeypatch.setattr("trainer.verify.REGEX_SECONDS", 0.05)
    assert Regex(kind="regex", pattern=r"(?:(a+)\1?)+\1x$").check(prompt(1), "a" * 300 + "b", {}) == 0.0


@pytest.mark.parametrize("named", [True, False])
def test_a_schemas_pattern_that_takes_for_ever_is_no_match(named):
    """By a process that can be ended: nothing else of the one that looks for it would run."""
    schema = {"type": "object", "properties": {"name": {"pattern": r"^(\w+ ?)+$"}}}
    schema |= {"$schema": "https://json-schema.org/draft/2020-12/schema"} if named else {}
    texts = [json.dumps({"name": name}) for name in ("a b", "a" * 60 + "!", "?")]
    check = (
        "import json, sys; from trainer import verify; verify.REGEX_SECONDS = 0.05\n"
        "schema, texts = json.load(sys.stdin); rule = verify.JsonSchema(kind='json_schema', schema=schema)\n"
        "print([rule.check([], one, {}) for one in texts])"
    )
    told = json.dumps([schema, texts])
    done = subprocess.run([sys.executable, "-c", check], input=told, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[1.0, 0.0, 0.0]\n", done.stderr


def test_a_schema_decides():
    schema = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
    rule = JsonSchema(kind="json_schema", schema=schema)
    texts = ('{"name": "x"}', '```json\n{"name": "x"}\n```', '{"name": 1}', "{}", "no json")
    assert [rule.check(prompt(1), text, {}) for text in texts] == [1, 1, 0, 0, 0]
    assert rule.check(prompt(1), "[1]", {"schema": {"type": "array"}}) == 1


def test_brackets_without_end_keep_no_schema():
    nested = {"$ref": "#/$defs/list", "$defs": {"list": {"type": "array", "items": {"$ref": "#/$defs/list"}}}}
    rule = JsonSchema(kind="json_schema", schema=nested)
    assert rule.check(prompt(1), "[[], [[]]]", {}) == 1.0
    for text in ("[" * 5000, "[" * 400 + "]" * 400):  # one is met by the reader, the other by the validator
        assert rule.check(prompt(1), text, {}) == 0.0


@pytest.mark.parametrize(
    ("rule", "arguments", "told"),
    [
        (Regex(kind="regex", pattern=r"\b{answer}\b"), {}, "its pattern has {answer}, and the row brings none"),
        (Regex(kind="regex", pattern=r"\b{answer}\b"), {"answer": " "}, "the row brings none"),
        (JsonSchema(kind="json_schema"), {"schema": {"type": "objekt"}}, r"no JSON schema: 'objekt'.* at \$.type"),
        (JsonSchema(kind="json_schema"), {"schema": "{}"}, "no JSON schema"),
    ],
)
def test_a_row_that_does_not_bring_what_its_rule_needs_is_said_before_anything_is_scored(
    tmp_path, rule, arguments, told
):
    path = tmp_path / "mix.jsonl"
    path.write_text(json.dumps({"messages": prompt(1), "source": "mine", "arguments": arguments}) + "\n")
    with pytest.raises(ValueError, match=f"line 1, of the source 'mine': .*{told}"):
        read_checks(path, {"mine": rule}, [])
    assert len(read_checks(path, {"mine": Regex(kind="regex", pattern="red")}, [])) == 1


def test_a_function_decides(tmp_path, monkeypatch):
    (tmp_path / "of_the_operator.py").write_text(
        "def short(messages, response, most=2):\n    return len(response.split()) <= most\n"
        "def share(messages, response):\n    return response.count('red') / 4\n"
        "def wild(messages, response):\n    return 7\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    rule = Function(kind="function", name="of_the_operator:short")
    texts = ("red", "red red red")
    assert [rule.check(prompt(1), text, {}) for text in texts] == [1.0, 0.0]
    assert [rule.check(prompt(1), text, {"most": 3}) for text in texts] == [1.0, 1.0]  # of the prompt's row
    assert Function(kind="function", name="of_the_operator:share").check(prompt(1), "red red", {}) == 0.5
    with pytest.raises(ValueError, match="of_the_operator:wild returned 7.0; expected 0 to 1"):
        Function(kind="function", name="of_the_operator:wild").check(prompt(1), "x", {})
    with pytest.raises(TypeError):
        rule.check(prompt(1), "x", {"more": 1})
    with pytest.raises(ValueError, match="expected module:function"):
        Function(kind="function", name="builtins:not_there")


def test_a_rule_that_fails_or_hangs_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken_rules.py").write_text(
        "import time\n"
        "def hangs(messages, response):\n    time.sleep(60)\n"
        "def raises(messages, response, **more):\n    return {}['gold']\n"
        "def nothing(messages, response):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def told(rule, **arguments):
        with pytest.raises(RuleFailed) as failed:
            Verified(Reds(), {wording(prompt(1)): Check(rule, arguments)}).score([(prompt(1), "{}")])
        return str(failed.value)

    said = told(Function(kind="function", name="broken_rules:raises"), level=3, answer="4")
    assert said.startswith("the rule of function broken_rules:raises failed (KeyError: 'gold')")
    assert said.endswith("its row brought the arguments answer, level")
    assert "no answer within 0.1 s" in told(Function(kind="function", name="broken_rules:hangs", seconds=0.1))
    assert "TypeError" in told(Function(kind="function", name="broken_rules:nothing"))
    nowhere = JsonSchema(kind="json_schema", schema={"$ref": "#/$defs/nowhere"})
    assert "the rule of kind json_schema failed (" in told(nowhere)


def test_rules_stand_in_for_the_model_or_add_to_it():
    alone = Check(Regex(kind="regex", pattern="blue", weight=3.0), {})
    beside = Check(Regex(kind="regex", pattern="blue", weight=0.5, alone=False), {})
    model = Verified(Reds(), {wording(prompt(1)): alone, wording(prompt(2)): beside})
    pairs = [(prompt(number), "red red red blue") for number in range(3)]
    assert model.score(pairs) == [0.75, 3.0, 1.25]
    assert model.figures == {"verified_share": pytest.approx(2 / 3), "verified_passed": 1.0}
    assert fmean(model.score([(prompt(1), "red")])) == 0.0


def test_a_mix_says_which_rule_holds_for_which_row(tmp_path):
    path = tmp_path / "mix.jsonl"
    rows = [
        {"messages": prompt(1), "source": "maths", "arguments": {"answer": "4"}},
        {"messages": [{"role": "user", "content": "mail a@b.org"}], "source": "maths", "arguments": {"answer": 7}},
        {"messages": prompt(3), "source": "chat"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rules = {"maths": Regex(kind="regex", pattern="{answer}")}
    from trainer.personal import redacted

    checks = read_checks(path, rules, [redacted])
    assert checks[wording(prompt(1))].arguments == {"answer": "4"}
    assert wording([{"role": "user", "content": "mail [email]"}]) in checks  # as curation leaves it
    assert wording(prompt(3)) not in checks
    sums = [{"prompt": f"What is 7 {sign} 5?", "source": "maths", "arguments": {"answer": answer}}
            for sign, answer in (("+", "12"), ("-", "2"), ("*", "35"))]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in sums))
    told = Verified(Reds(), read_checks(path, rules, [redacted]))
    asked = [[{"role": "user", "content": row["prompt"]}] for row in sums]
    assert told.score([(messages, "35") for messages in asked]) == [0.0, 0.0, 1.0]  # each by its own answer
    path.write_text(json.dumps({"messages": prompt(1), "source": "algebra", "arguments": {}}) + "\n")
    with pytest.raises(ValueError, match="line 1: source 'algebra' brings arguments and has no rule.*maths"):
        read_checks(path, rules, [])
