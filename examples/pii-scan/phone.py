"""Phone numbers: international ones, and the ways the Nordic countries write
their own.

A number without country code is taken for a phone number only if it is written
like one: Swedish and Finnish ones with their leading 0 and a separator, Danish
and Norwegian ones in their groups of digits. Other bare digits count only right
after a word such as "tel", since dates and order numbers look the same.
"""

from __future__ import annotations

import re
from typing import Iterator

# Country codes and how many digits follow them.
_NORDIC = {
    "45": ("DK", 8, 8),
    "46": ("SE", 7, 9),
    "47": ("NO", 8, 8),
    "298": ("FO", 6, 6),
    "299": ("GL", 6, 6),
    "354": ("IS", 7, 9),
    "358": ("FI", 5, 12),
}

_LEFT = r"(?<![^\W_])(?<![^\W_][-.,/+])(?<![0-9][ ])"
_RIGHT = r"(?![^\W_])(?![-/+][^\W_])(?![.,][0-9])(?![ ][0-9])"
# Separators stand alone, except around brackets, as in +46 (0)8.
_SEPARATOR = r"(?:[ \u00a0.\u2011-]|[ ]?\([0-9]{1,4}\)[ -]?)?"

_INTERNATIONAL = re.compile(r"(?<![^\W_])(?<![^\W_][-.+])(?:\+|\b00)(?P<digits>[1-9](?:%s[0-9]){6,14})(?![^\W_])(?![.,][0-9])" % _SEPARATOR)
_LEADING_ZERO = re.compile(_LEFT + r"0[1-9][0-9]{0,2}(?:[ ]?-[ ]?|[ /])[0-9]{2,4}(?:[ ]?[0-9]{2,4}){0,3}" + _RIGHT)
_GROUPS = re.compile(_LEFT + r"(?:[2-9][0-9](?: [0-9]{2}){3}|[4-9][0-9]{2} [0-9]{2} [0-9]{3})" + _RIGHT)
_AFTER_A_WORD = re.compile(
    r"(?i)\b(?:tele(?:fon|phone)?|tel|tlf|ph(?:one)?|mob(?:il(?:e|nummer)?)?|puh(?:elin)?|gsm|(?:far)?s[ií]mi|cell)\b"
    r"[.:]{0,2}(?:[ ]?(?:nr|no|number|nummer)\b[.:]{0,2})?[ ]?(?P<number>[0-9](?:[ -]?[0-9]){6,9})" + _RIGHT
)


def find(text: str) -> Iterator[tuple[int, int, str | None, str]]:
    """Yields start, end, country and masked form, of each pattern in turn; the
    same place may come up more than once."""
    for match in _INTERNATIONAL.finditer(text):
        code, country = _country(match["digits"])
        if code is not None:
            yield *match.span(), country, _mask(match[0], code)
    for match in _LEADING_ZERO.finditer(text):
        digits = re.sub(r"[^0-9]", "", match[0])
        if 8 <= len(digits) <= 11:
            yield *match.span(), _home(digits), _mask(match[0])
    for match in _GROUPS.finditer(text):
        yield *match.span(), None, _mask(match[0])
    for match in _AFTER_A_WORD.finditer(text):
        yield *match.span("number"), None, _mask(match["number"])


def _country(number: str) -> tuple[str | None, str | None]:
    """The country code and country of an international number, or no code if a
    number of a Nordic country has not the length of one."""
    digits = re.sub(r"\(0\)|[^0-9]", "", number)
    for code, (country, least, most) in _NORDIC.items():
        if digits.startswith(code):
            return (code, country) if least <= len(digits) - len(code) <= most else (None, None)
    return "", None


def _home(digits: str) -> str | None:
    """The country of a number with a leading 0, where its prefix tells."""
    if re.match(r"07[02369]", digits):
        return "SE"
    if re.match(r"04[0-69]|050", digits):
        return "FI"
    return None


def _mask(number: str, code: str = "") -> str:
    """All digits replaced, but for the country code."""
    kept = re.match(r"(?:\+|00)" + r"\D?".join(code), number).end() if code else 0
    return number[:kept] + re.sub(r"[0-9]", "*", number[kept:])
