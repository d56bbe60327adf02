"""Everything outside of the world: greetings, thanks, and requests that it honestly declines."""

from __future__ import annotations

import random
from collections.abc import Sequence

from models.world.kinds import KINDS
from models.world.values import lines, words

GREETINGS = lines("""
    Hi
    Hello
    Hello!
    Hey there
    Hi there!
    Good morning
    Good evening!
    Hey, how are you?
    Hello, who are you?
    What can you do?
    Who are you?
    What are you able to help with?
    Hi, can you help me?
    Hello, what do you do?
    Help
    How does this work?
    Hey, nice to meet you.
    Are you there?
    """)
THANKS = lines("""
    Thanks!
    Thank you.
    Thanks a lot.
    Great, thank you!
    That is perfect, thanks.
    Thank you so much.
    Wonderful, thanks!
    Nice, that helps.
    Perfect!
    Good, thank you.
    """)
_ASKS = lines("""
    What is the capital of {place}?
    How many people live in {place}?
    Who won the election in {place}?
    Tell me the history of {place}.
    What is the weather like in {place} today?
    Translate this sentence into {tongue}.
    How do you say good night in {tongue}?
    Teach me some {tongue}.
    Write a program in {code} that sorts a list.
    Fix this bug in my {code} code.
    What is a class in {code}?
    Explain {science} to me.
    How does {science} work?
    What is {science}?
    Give me a proof about {science}.
    What is {a} times {b}?
    Calculate {a} plus {b}.
    Solve {a} minus {b} for me.
    Should I buy shares of a {firm} company?
    How do I fix my {thing}?
    My {thing} is broken, what now?
    Which {thing} should I buy?
    What does a {thing} cost?
    Who invented the {thing}?
    My {ache} hurts, what should I do?
    Which pills help when my {ache} hurts?
    Sing a song about {science}.
    Write a poem about a {thing}.
    Tell me a joke about a {thing}.
    What happened in {year}?
    Who was famous in {year}?
    Who is the best player of {sport}?
    Explain the rules of {sport}.
    Who won the last {sport} match?
    Is it legal to park on the pavement in {place}?
    Give me the news from {place}.
    What time is it in {place}?
    Write a contract for selling my {thing}.
    Summarise this page about {science}.
    What do you think about {sport}?
    """)
_SLOTS: dict[str, Sequence[str]] = {
    "place": words("France Japan Brazil Kenya Canada Norway Egypt Peru India Mexico Iceland Chile"),
    "tongue": ["French", "German", "Spanish", "Italian", "Polish", "Turkish", "Latin", "Greek", "Dutch", "Danish"],
    "code": ["Python", "Java", "Rust", "Go", "Ruby", "Haskell"],
    "science": ["gravity", "magnetism", "algebra", "evolution", "electricity", "chemistry", "geometry", "inflation",
                "black holes", "photosynthesis", "statistics", "the tides"],
    "a": [str(n) for n in range(12, 90, 7)],
    "b": [str(n) for n in range(3, 80, 6)],
    "firm": ["steel", "car", "chip", "drug", "phone", "shoe"],
    "thing": words("fridge printer piano boat telephone car washer clock radio door vacuum roof drill"),
    "ache": ["head", "tooth", "knee", "stomach", "neck", "foot", "ear", "elbow"],
    "year": [str(y) for y in range(1806, 2000, 13)],
    "sport": ["football", "tennis", "chess", "hockey", "golf", "rugby", "boxing", "cricket"],
}  # fmt: skip
_STARTS = lines("""
    I am sorry, but that is outside of what I can do.
    That is not something I know about, I am afraid.
    I can't help with that one.
    Sorry, I don't know enough about that to be of use.
    I would rather not guess about that.
    That question is beyond me.
    I would only be guessing there.
    """)
_OFFERS = lines("""
    I can only help with everyday things such as {kinds}.
    I can only help with {kinds}.
    What I can only help with are things like {kinds}.
    """)
_COUNTS = {1: "one thing", 2: "two things", 3: "three things", 4: "four things"}
_HELLOS = lines("""
    Hello! I am a small assistant for everyday things.
    Hello, and welcome. I am a small model that plans before it writes.
    Hi! It is good to hear from you.
    Good to see you! I am here to help.
    """)
_CANS = lines("""
    I can help with {kinds}.
    You can ask me for {kinds}.
    I am good at {kinds}.
    """)
_WELCOMES = lines("""
    You are welcome! I am glad that it helps.
    You are very welcome.
    I am glad to hear that.
    You are welcome, any time.
    """)
_NEXT = lines("""
    Shall we change anything about it?
    Just tell me if something should be different.
    Is there anything else that you need?
    I can make it shorter or change a part of it.
    Would you like to plan something else?
    """)
_ENDS = lines("""
    Would you like one of those?
    Tell me what you need and for whom.
    Shall we try one of them?
    Just say what you have in mind.
    Which of them would be useful to you?
    """)


def phrasings() -> int:
    """How many wordings of greetings, thanks and outside requests there are, slots not counted."""
    return len(GREETINGS) + len(THANKS) + len(_ASKS)


def ask(rng: random.Random) -> str:
    """A request that is outside of the world."""
    return rng.choice(_ASKS).format(**{slot: rng.choice(values) for slot, values in _SLOTS.items()})


def offers(rng: random.Random, n: int) -> str:
    """A list in words of n kinds that the world knows."""
    labels = rng.sample([k.label for k in KINDS.values()], n)
    return labels[0] if n == 1 else ", ".join(labels[:-1]) + f" and {labels[-1]}"


def reply(what: str, rng: random.Random, quality: str) -> tuple[str, str]:
    """Plan and response to a greeting, to thanks, or to an outside request; `quality` good, middling or poor."""
    quality = "good" if quality == "careful" else quality
    n = {"good": rng.randint(3, 4), "middling": rng.randint(1, 2), "poor": 1}[quality]
    if what == "greeting":
        parts = [rng.choice(_HELLOS), rng.choice(_CANS).format(kinds=offers(rng, n)), rng.choice(_ENDS)]
        plan = rng.choice(["They say hello.", "This is a greeting.", "They want to know what I can do."])
        plan += f"\n- greet them\n- name {_COUNTS[n]} that I can do" + (
            "\n- ask what they need" if quality == "good" else ""
        )
    elif what == "gratitude":
        parts = [rng.choice(_WELCOMES), rng.choice(_NEXT)]
        plan = rng.choice(["They are happy with it.", "They say thank you."])
        plan += "\n- answer kindly" + ("\n- offer more" if quality == "good" else "")
        return plan, " ".join(parts if quality == "good" else parts[:1])
    else:
        parts = [rng.choice(_STARTS), rng.choice(_OFFERS).format(kinds=offers(rng, n)), rng.choice(_ENDS)]
        plan = rng.choice(["This is outside of what I know.", "I can't do this one.", "That is not among my topics."])
        plan += f"\n- say so honestly\n- offer {_COUNTS[n]}" + ("\n- ask what they need" if quality == "good" else "")
    if quality == "middling":
        parts = parts[:2]
    if quality == "poor":
        parts = parts[:1] if what == "outside" else parts[1:2]
    return plan, " ".join(parts)
