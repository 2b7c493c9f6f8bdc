"""Nordic personal identity numbers: their shapes, dates and check digits.

Each country's rules are stated at its function, with their source. A number is
accepted only if its birth date is on the calendar, not in the future, and its
check digits agree, so that order numbers and the like seldom pass.

Not recognised: Swedish interim numbers with a letter in them, Danish
replacement numbers that hospitals make up, Icelandic system numbers (they hold
no date) and numbers of organisations.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

# Word processors turn hyphens into any of these.
HYPHENS = "-\u2010\u2011\u2012\u2013\u2212"

# What looks like a number of one of the five countries, up to its last digit.
# It does not touch a letter or another digit, is not the end of a decimal
# fraction or of a phone number, and not a part of something longer with
# hyphens, such as a UUID. An underscore may touch it, as in names of files.
CANDIDATE = re.compile(
    r"(?<![^\W_])(?<![^\W_][%(h)s])(?<![0-9][.])(?<!\b0,)(?<!\+)"
    r"(?P<date>[0-9]{6}(?:[0-9]{2})?)"
    r"(?P<sign>[%(h)s+ \u00a0]|(?=[0-9])|[A-FU-Ya-fu-y])"
    r"(?P<serial>[0-9]{3}[0-9A-Za-z]{1,2})"
    r"(?![^\W_])(?![%(h)s+][^\W_])(?![.][0-9])" % {"h": HYPHENS}
)

VALID = "valid"
NOT_VERIFIABLE = "not verifiable"


@dataclass(frozen=True)
class Reading:
    """One way to understand a number."""

    country: str
    kind: str
    checksum: str = VALID
    # Set apart by the authority for tests, so that nobody has the number.
    test: bool = False


def readings(match: re.Match, today: datetime.date) -> list[Reading]:
    """All ways to understand a match of CANDIDATE, the likeliest first."""
    date, serial = match["date"], match["serial"].upper()
    sign = "-" if match["sign"] and match["sign"] in HYPHENS else match["sign"].upper()
    found = []
    for country in (_sweden, _norway, _denmark, _finland, _iceland):
        reading = country(date, sign, serial, today)
        if reading:
            found.append(reading)
    # A stable sort: those whose check digits agree come before those without.
    return sorted(found, key=lambda reading: reading.checksum != VALID)


def _sweden(date, sign, serial, today):
    """Personnummer and samordningsnummer: [YY]YYMMDD-NNNC.

    C is the Luhn digit of the nine before it. A samordningsnummer has 60 added
    to its day; '+' replaces '-' from the year in which the person turns 100.
    Folkbokföringslag (1991:481) 18 §; Lag (2022:1697) om samordningsnummer.
    """
    if sign not in ("-", "+", "") or not serial.isdigit() or len(serial) != 4:
        return None
    if not _luhn(date[-6:] + serial):
        return None
    day = int(date[-2:])
    kind = "samordningsnummer" if day > 60 else "personnummer"
    day -= 60 if day > 60 else 0
    month, year = int(date[-4:-2]), int(date[-6:-4])
    if len(date) == 8:
        born = _date(int(date[:4]), month, day)
    else:
        year += today.year // 100 * 100
        born = _date(year, month, day)
        if born is None or born > today:
            born = _date(year - 100, month, day)
        if sign == "+" and born:
            born = _date(born.year - 100, month, day)
    if not _plausible(born, today):
        return None
    return Reading("SE", kind)


def _norway(date, sign, serial, today):
    """Fødselsnummer and D-nummer: DDMMYYIIIKK, often with a space before III.

    Two check digits of weighted sums modulo 11. A D-nummer has 40 added to its
    day, a synthetic number of the tax administration's test population 80 to
    its month, and hospitals' own H-nummer 40 to its month. Up to 2031 III tells
    the century, and the first check digit leaves the remainder 0. Numbers issued
    from 2032 on may leave 0, 1, 2 or 3, and III tells nothing; numbers that
    exist do not change, so both rules hold side by side from then on.
    https://skatteetaten.github.io/folkeregisteret-api-dokumentasjon/nytt-fodselsnummer-fra-2032/
    https://skatteetaten.github.io/folkeregisteret-api-dokumentasjon/test-for-konsumenter/
    """
    if sign not in ("-", " ", "\u00a0", "") or len(date) != 6 or not serial.isdigit() or len(serial) != 5:
        return None
    digits = [int(c) for c in date + serial]
    first = (_weigh(digits, (3, 7, 6, 1, 8, 9, 4, 5, 2)) + digits[9]) % 11
    second = (_weigh(digits, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) + digits[10]) % 11
    new_rule = today.year >= 2032
    if second != 0 or first not in ((0, 1, 2, 3) if new_rule else (0,)):
        return None
    day, month, year = int(date[:2]), int(date[2:4]), int(date[4:])
    kind = "fødselsnummer"
    if day > 40:
        day, kind = day - 40, "D-nummer"
    test = month > 80
    if test:
        month -= 80
    elif month > 40:
        month, kind = month - 40, "H-nummer"
    if new_rule:
        centuries = (1800, 1900, 2000)
    else:
        centuries = _norwegian_centuries(year, int(serial[:3]))
    for century in centuries:
        if _plausible(_date(century + year, month, day), today):
            return Reading("NO", kind, test=test)
    return None


def _norwegian_centuries(year, individual):
    if individual < 500:
        return (1900,)
    if year < 40:
        return (2000,)
    centuries = (1800,) if individual < 750 and year >= 54 else ()
    return centuries + ((1900,) if individual >= 900 else ())


def _denmark(date, sign, serial, today):
    """CPR number: DDMMYY-SSSS.

    The seventh digit and the year tell the century. Up to October 2007 the
    weighted sum of all ten digits was a multiple of 11. Since then numbers
    without that exist, all of them so far with a birth date on 1 January:
    without a hyphen, only such dates are taken for a CPR number.
    https://www.cpr.dk/cpr-systemet/opbygning-af-cpr-nummeret
    https://www.cpr.dk/cpr-systemet/personnumre-uden-kontrolciffer-modulus-11-kontrol
    """
    if sign not in ("-", " ", "\u00a0", "") or len(date) != 6 or not serial.isdigit() or len(serial) != 4:
        return None
    day, month, year = int(date[:2]), int(date[2:4]), int(date[4:])
    seventh = int(serial[0])
    if seventh <= 3:
        century = 1900
    elif seventh in (4, 9):
        century = 2000 if year <= 36 else 1900
    else:
        century = 2000 if year <= 57 else 1800
    if not _plausible(_date(century + year, month, day), today):
        return None
    if _weigh([int(c) for c in date + serial], (4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0:
        return Reading("DK", "CPR-nummer")
    if sign == "-" or (sign == "" and (day, month) == (1, 1)):
        return Reading("DK", "CPR-nummer", NOT_VERIFIABLE)
    return None


def _finland(date, sign, serial, today):
    """Henkilötunnus: DDMMYYCZZZQ.

    C tells the century: '+' 1800, '-' and since 2023 Y X W V U 1900, A and since
    2023 B C D E F 2000. Q is the remainder modulo 31 of DDMMYYZZZ. ZZZ is 002 to
    899; 900 to 999 are for temporary numbers and for tests.
    https://dvv.fi/en/personal-identity-code
    https://dvv.fi/en/reform-of-personal-identity-code
    """
    if sign == "" or len(date) != 6 or len(serial) != 4:
        return None
    century = {"+": 1800, **dict.fromkeys("-UVWXY", 1900), **dict.fromkeys("ABCDEF", 2000)}.get(sign)
    if century is None or not serial[:3].isdigit() or int(serial[:3]) < 2:
        return None
    if serial[3] != "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(date + serial[:3]) % 31]:
        return None
    born = _date(century + int(date[4:]), int(date[2:4]), int(date[:2]))
    if not _plausible(born, today):
        return None
    return Reading("FI", "henkilötunnus", test=int(serial[:3]) >= 900)


def _iceland(date, sign, serial, today):
    """Kennitala of a person: DDMMYY-NNPC.

    NN is 20 or more, P a check digit modulo 11, C the century: 8 is 1800, 9 is
    1900, 0 is 2000.
    https://www.skra.is/folk/eg-i-thjodskra/um-kennitolur
    """
    if sign not in ("-", " ", "\u00a0", "") or len(date) != 6 or not serial.isdigit() or len(serial) != 4:
        return None
    digits = [int(c) for c in date + serial]
    if int(serial[:2]) < 20 or _weigh(digits, (3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 != 0:
        return None
    century = {"8": 1800, "9": 1900, "0": 2000}.get(serial[3])
    if century is None:
        return None
    born = _date(century + int(date[4:]), int(date[2:4]), int(date[:2]))
    return Reading("IS", "kennitala") if _plausible(born, today) else None


def _weigh(digits, weights):
    return sum(digit * weight for digit, weight in zip(digits, weights))


def _luhn(digits):
    total = 0
    for place, digit in enumerate(reversed(digits)):
        product = int(digit) * (1 + place % 2)
        total += product // 10 + product % 10
    return total % 10 == 0


def _date(year, month, day):
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return None


def _plausible(born, today):
    """Nobody in these registers was born before 1840."""
    return born is not None and 1840 <= born.year and born <= today
