"""How well one colour stands out from another, as WCAG 2.1 counts it."""


def contrast(one: str, other: str) -> float:
    """From 1 (the same) to 21 (black on white), of colours such as `#1f1e1b`.

    WCAG 2.1, 1.4.3: (lighter + 0.05) / (darker + 0.05), of relative luminances.
    """
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour.lstrip("#")[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
