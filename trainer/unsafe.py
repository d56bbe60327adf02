"""Prompts that nobody should be taught to please: found by rules, and by any classifier that an operator names.

A reward model pays for doing what was asked, whatever it was. The rules know phrases in English that say what is
wanted, also where they are hidden in base64; topics alone (news of a crime, a novel's war) are no reason to leave a
prompt. An operator's own classifier (`trainer.unsafe_model`) is asked after them.
"""

import base64
import binascii
import re
from collections.abc import Callable

from trainer.prompts import Messages, text_of

Unsafe = Callable[[Messages], str | None]
"""What is unsafe about a conversation, in a few words; None where nothing is."""


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


JAILBREAK = _any(
    r"\bdo anything now\b",
    r"\b(?:simulate|with|enable) developer mode\b|\bdeveloper mode (?:enabled|output)\b",
    r"\b(?:no|without (?:any )?|free (?:of|from)|ignor\w+|bypass\w*|(?:doesn.t|does not|don.t|not) have any"
    r"|not bound by|not be (?:restricted|affected|limited) by|not need to consider any|unrestricted by"
    r"|even if it violates)\b"
    r"[^.\n]{0,50}\b(?:open ?ai|ethic(?:s|al)|moral(?:s|ity)?|content)\b"
    r"[^.\n]{0,20}\b(?:guidelines?|polic(?:y|ies)|restrictions?|filters?|limit(?:s|ations)|rules|or ethics)\b",
    r"\b(?:un(?:filtered|censored|hinged)|amoral|unethical)\b[^.\n]{0,40}"
    r"\b(?:chat ?bot|ai|a\.i\.|model|bot|assistant|response)\b",
    r"\bwithout (?:saying|mentioning) that it is (?:not ethical|unethical|not legal|illegal)\b",
    r"\bnever refuses?(?:\b[^.\n]{0,30}\b(?:requests?|questions?|prompts?|orders?)\b|[,.;])",
    r"\bno restrictions on (?:your|its) (?:output|answers?)\b",
    r"\bno filters? or restrictions\b|\bno morals or ethics\b",
)
SEXUAL = _any(
    r"\bsmut\b|\b(?:nsfw|lewd)\b",
    r"\berotic(?:a\b|chan|[^.\n]{0,30}\b(?:story|tale|novel|fiction|scene|roleplay))",
    r"\b(?:porn(?:ographic)?|explicit|sexual(?:ly explicit)?) (?:scene|element|story|roleplay|content)s?\b",
    r"\b(?:writ(?:e|ing)|describ\w+|roleplay)\b[^.\n]{0,60}"
    r"\b(?:sex (?:scenes?|acts?)|having sex|blowjob|masturbat\w+|orgasms?|hentai)\b",
)
BODY = _any(
    r"\b(?:busty|horny|aroused?|orgasms?|nipples?|panties|pussy|creampie|cum(?:s|ming|shot)?|blowjobs?|clit|masturbat\w+"
    r"|moan(?:s|ing)?|naked|nude|breasts?|boobs|genitals|fetish\w*|bdsm|seduc\w+|sexual\w*|milf|erect(?:ion)?|lactat\w+)\b"
)
BODY_WORDS, STEM = 4, 5
"""Different ones of BODY (by their first letters) in a text that make it sexual: one on medicine or law has fewer."""
CHILD = _any(
    r"\b(?:underage|loli(?:con)?|shotacon|(?:[5-9]|1[0-7])[- ]?year[- ]?old|teenage (?:boy|girl)|school ?girl)\b"
)
HARM = _any(
    r"\b(?:how (?:do i|to|can i)|steps to|instructions (?:for|to)|recipe for|guide to|tell me how to|help me)\b"
    r"[^.\n]{0,30}\b(?:make|build|cook|synthesi[sz]e|produce|assemble)\b[^.\n]{0,30}"
    r"\b(?:bombs?|explosives?|meth(?:amphetamine)?|napalm|nerve agent|sarin|ricin|molotov|silencer|ghost gun"
    r"|fentanyl)\b",
    r"\b(?:write|create|make|build|code|give me)\b[^.\n]{0,40}\b(?:ransomware|key ?logger|malware|computer virus"
    r"|phishing (?:page|e-?mail|site|message)|ddos (?:tool|script|bot))\b",
    r"\bhow (?:do i|to|can i) (?:hack into|break into|steal|forge|launder)\b",
    r"\bhow (?:do i|to|can i) (?:stalk|poison|kill) (?:my|someone|a person|her|him)\b",
)
SELF = _any(
    r"\b(?:want to (?:die|kill myself)|end my (?:own )?life|how to (?:commit suicide|hurt myself)|kill myself)\b"
)
DENIED = re.compile(r"\b(?:no|not|never|without|avoid|don.t|any)\b(?! hesitate)[^.\n]{0,40}$", re.IGNORECASE)
HIDDEN = re.compile(r"[A-Za-z0-9+/]{80,}={0,2}")


def by_rule(messages: Messages) -> str | None:
    """What the rules say of a conversation: its user's and its system's words, not what a model answered."""
    said = "\n".join(text_of(message) for message in messages if message["role"] != "assistant")
    return _found(said) or next((f"hidden: {why}" for text in _decoded(said) if (why := _found(text))), None)


def _found(text: str) -> str | None:
    if JAILBREAK.search(text):
        return "it asks for an answer without rules"
    words = {match.group().lower()[:STEM] for match in BODY.finditer(text)}
    sexual = any(not DENIED.search(text[max(0, at.start() - 60) : at.start()]) for at in SEXUAL.finditer(text))
    if sexual or len(words) >= BODY_WORDS:
        return "sexual, with a minor" if CHILD.search(text) else "sexual"
    if HARM.search(text):
        return "it asks how to do harm"
    return "it speaks of harming oneself" if SELF.search(text) else None


def _decoded(text: str) -> list[str]:
    """Texts that stand in base64."""
    out = []
    for match in HIDDEN.finditer(text):
        try:
            out.append(base64.b64decode(match.group(), validate=True).decode())
        except (binascii.Error, UnicodeDecodeError):
            continue
    return out
