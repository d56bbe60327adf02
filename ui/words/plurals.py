"""Which plural form a count takes in a language, by the names of Unicode's CLDR: zero, one, two, few, many, other.

The browser has these rules (`Intl.PluralRules`); this is what Python needs of them, for whole numbers. A language that
is not in the table has two forms, as English has: one and other.
"""

from collections.abc import Callable, Mapping

Rule = Callable[[int], str]


def category(language: str, count: object) -> str:
    """The form for `count` in `language`; other for what is no whole number."""
    return _RULES.get(language, _one)(count) if isinstance(count, int) else "other"


def _always(n: int) -> str:
    return "other"


def _one(n: int) -> str:
    return "one" if n == 1 else "other"


def _none_is_one(n: int) -> str:
    return "one" if n in (0, 1) else "other"


def _by_its_end(n: int) -> str:
    return "one" if _ends_in_one(n) else "other"


def _with_millions(n: int) -> str:
    return "many" if n and n % 1_000_000 == 0 else _one(n)


def _none_is_one_with_millions(n: int) -> str:
    return "many" if n and n % 1_000_000 == 0 else _none_is_one(n)


def _eastern_slavic(n: int) -> str:
    return "one" if _ends_in_one(n) else "few" if _ends_in_few(n) else "many"


def _southern_slavic(n: int) -> str:
    return "one" if _ends_in_one(n) else "few" if _ends_in_few(n) else "other"


def _polish(n: int) -> str:
    return "one" if n == 1 else "few" if _ends_in_few(n) else "many"


def _czech(n: int) -> str:
    return "one" if n == 1 else "few" if 2 <= n <= 4 else "other"


def _slovene(n: int) -> str:
    return {1: "one", 2: "two", 3: "few", 4: "few"}.get(n % 100, "other")


def _lithuanian(n: int) -> str:
    if 11 <= n % 100 <= 19 or n % 10 == 0:
        return "other"
    return "one" if n % 10 == 1 else "few"


def _latvian(n: int) -> str:
    return "zero" if n % 10 == 0 or 11 <= n % 100 <= 19 else "one" if n % 10 == 1 else "other"


def _romanian(n: int) -> str:
    return "one" if n == 1 else "few" if n == 0 or 1 <= n % 100 <= 19 else "other"


def _hebrew(n: int) -> str:
    return {1: "one", 2: "two"}.get(n, "other")


def _arabic(n: int) -> str:
    few, many = 3 <= n % 100 <= 10, n % 100 >= 11
    return {0: "zero", 1: "one", 2: "two"}.get(n, "few" if few else "many" if many else "other")


def _irish(n: int) -> str:
    return {1: "one", 2: "two"}.get(n, "few" if 3 <= n <= 6 else "many" if 7 <= n <= 10 else "other")


def _welsh(n: int) -> str:
    return {0: "zero", 1: "one", 2: "two", 3: "few", 6: "many"}.get(n, "other")


def _ends_in_one(n: int) -> bool:
    return n % 10 == 1 and n % 100 != 11


def _ends_in_few(n: int) -> bool:
    return 2 <= n % 10 <= 4 and not 12 <= n % 100 <= 14


_LANGUAGES: Mapping[Rule, str] = {
    _always: "id ja ko lo ms my th vi zh",
    _none_is_one: "am bn fa gu hi kn zu",
    _by_its_end: "is mk",
    _with_millions: "ca es it",
    _none_is_one_with_millions: "fr pt",
    _eastern_slavic: "be ru uk",
    _southern_slavic: "bs hr sr",
    _polish: "pl",
    _czech: "cs sk",
    _slovene: "sl",
    _lithuanian: "lt",
    _latvian: "lv",
    _romanian: "ro",
    _hebrew: "he",
    _arabic: "ar",
    _irish: "ga",
    _welsh: "cy",
}
_RULES = {language: rule for rule, languages in _LANGUAGES.items() for language in languages.split()}
KNOWN = frozenset(_RULES)
"""Languages with rules of their own."""
