"""Personal data in what people wrote: found by libraries that know its forms, and taken out.

Telephone numbers (phonenumbers), bank accounts, cards and US social security numbers with right check digits
(python-stdnum), e-mail and IP addresses, keys of well-known services. Names and street addresses are not found.
"""

import ipaddress
import re
from collections.abc import Iterator

from trainer.prompts import Messages, text_of

EMAIL = re.compile(r"[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}")
IP = re.compile(r"(?<![\w.])(?<!\w/)(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d)")  # Chrome/112.0.0.1 is a version
CARD = re.compile(  # grouped as cards are, with a number that an issuer has: a row of figures is none
    r"(?<![\d.-])(?:3[47]\d{2}([ -]?)\d{6}\1\d{5}|3(?:0[0-5]|[68]\d)\d([ -]?)\d{6}\2\d{4}"
    r"|(?:4\d{3}|5[0-8]\d{2}|6\d{3}|2[2-7]\d{2}|35\d{2})([ -]?)\d{4}\3\d{4}\3\d{4})(?![\d-]|\.\d| \d{4}\b)"
)
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{2,4}){3,8}\b")
SSN = re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])")
KEY = re.compile(
    r"\b(?:sk-[\w-]{20,}|AKIA[0-9A-Z]{16}|gh[pousr]_\w{36,}|xox[abpr]-[\w-]{10,}|AIza[\w-]{35}|EAA[A-Za-z0-9]{60,})\b"
)
PHONE = re.compile(r"[+(]{0,2}\d(?:[ ().\-/]{0,3}\d){6,18}")  # what may be one; which is slow to tell
FRACTION = re.compile(r"\d+\.\d+")
DIGITS = 7  # no telephone number has fewer, and looking for one is slow


def personal(text: str) -> list[tuple[int, int, str]]:
    """What is personal: (start, end, kind), in order, none within another."""
    found: list[tuple[int, int, str]] = []
    for start, end, kind in sorted(_found(text), key=lambda one: (one[0], -one[1])):
        if not found or start >= found[-1][1]:
            found.append((start, end, kind))
    return found


def kinds(messages: Messages) -> list[str]:
    """The kinds of personal data in a conversation, each once, in order of the alphabet."""
    return sorted({kind for message in messages for _, _, kind in personal(text_of(message))})


def redacted(messages: Messages) -> Messages:
    """The same conversation with its kind in brackets in the place of everything personal, such as [email]."""
    return [{**message, "content": _without(text_of(message))} for message in messages]


def taken_out(messages: Messages) -> dict[str, str]:
    """What `redacted` takes out of a conversation, and what it puts there; the longest first."""
    texts = [text_of(message) for message in messages]
    found = {text[start:end]: f"[{kind}]" for text in texts for start, end, kind in personal(text)}
    return dict(sorted(found.items(), key=lambda one: -len(one[0])))


def _without(text: str) -> str:
    out, at = [], 0
    for start, end, kind in personal(text):
        out += [text[at:start], f"[{kind}]"]
        at = end
    return "".join([*out, text[at:]])


def _found(text: str) -> Iterator[tuple[int, int, str]]:
    yield from ((*match.span(), "email") for match in EMAIL.finditer(text))
    yield from ((*match.span(), "key") for match in KEY.finditer(text))
    if sum(character.isdigit() for character in text) < DIGITS:
        return
    from phonenumbers import Leniency, PhoneNumberMatcher
    from stdnum import iban, luhn
    from stdnum.us import ssn

    checks = ((CARD, luhn.is_valid, "card"), (IBAN, iban.is_valid, "account"), (SSN, ssn.is_valid, "ssn"))
    for pattern, valid, kind in (*checks, (IP, _address, "ip")):
        for match in pattern.finditer(text):
            if valid(re.sub(r"[ -]", "", match.group()) if kind != "ssn" else match.group()):
                yield (*match.span(), kind)
    # with a country's code anywhere; without one, only where it is grouped as a number of the US or Canada is
    for span in PHONE.finditer(text):
        start, piece = span.start(), span.group()
        if FRACTION.fullmatch(piece):
            continue
        for region, leniency in ((None, Leniency.VALID), ("US", Leniency.STRICT_GROUPING)):
            for number in PhoneNumberMatcher(piece, region, leniency=leniency):
                if region is None or not number.raw_string.isdigit():
                    yield start + number.start, start + number.end, "phone"


def _address(text: str) -> bool:
    """Whether it is somebody's address on the internet: not a private network's, nor a version as 1.2.3.4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.is_global and int(text.split(".")[0]) >= 10
