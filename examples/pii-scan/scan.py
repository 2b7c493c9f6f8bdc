"""Finds what identifies a person in a text."""

from __future__ import annotations

import bisect
import datetime
import re
from dataclasses import dataclass, field

from . import identity, phone

# The part before '@' starts where no character of such a part precedes, which
# keeps the search linear in the length of the text.
_EMAIL = re.compile(
    r"(?<![\w.!#$%&'*+/=?^`{|}~-])"
    r"(?P<local>[\w!#$%&'*+/=?^`{|}~-][\w.!#$%&'*+/=?^`{|}~-]{0,63})"
    r"@(?P<domain>(?:[^\W_](?:[^\W_]|-){0,62}\.){1,8}[^\W\d_]{2,24})(?![\w-])"
)


@dataclass
class Finding:
    """Something found, without its value."""

    kind: str
    country: str | None
    line: int
    column: int
    masked: str
    checksum: str | None = None
    test: bool = False
    # Other countries' numbers that the same digits could be.
    also: list[str] = field(default_factory=list)
    span: tuple[int, int] = (0, 0)

    def public(self) -> dict:
        """The finding as the answer shows it."""
        answer = {"kind": self.kind, "country": self.country, "line": self.line, "column": self.column, "masked": self.masked}
        if self.checksum:
            answer["checksum"] = self.checksum
        if self.test:
            answer["test"] = True
        if self.also:
            answer["also"] = self.also
        return answer


def scan(text: str, today: datetime.date) -> list[Finding]:
    """All findings in the order of the text. Lines and columns count from 1,
    columns in characters. Where two overlap, an e-mail address wins over an
    identity number, and that over a phone number."""
    taken: list[tuple[int, int]] = []
    findings: list[Finding] = []
    starts = [0] + [end.end() for end in re.finditer(r"\r\n|\r|\n", text)]
    for search in (_emails, _identity_numbers, _phones):
        for start, end, finding in search(text, today):
            place = bisect.bisect(taken, (start, end))
            if (place and taken[place - 1][1] > start) or (place < len(taken) and taken[place][0] < end):
                continue
            taken.insert(place, (start, end))
            finding.span = (start, end)
            finding.line = bisect.bisect(starts, start)
            finding.column = start - starts[finding.line - 1] + 1
            findings.append(finding)
    return sorted(findings, key=lambda finding: finding.span)


def redact(text: str, findings: list[Finding]) -> str:
    """The text with every finding masked."""
    parts, end = [], 0
    for finding in findings:
        parts += [text[end : finding.span[0]], finding.masked]
        end = finding.span[1]
    return "".join(parts) + text[end:]


def _emails(text, today):
    for match in _EMAIL.finditer(text):
        top = match["domain"].rpartition(".")[2]
        yield *match.span(), Finding("e-mail address", None, 0, 0, f"***@***.{top}")


def _identity_numbers(text, today):
    for match in identity.CANDIDATE.finditer(text):
        found = identity.readings(match, today)
        if not found:
            continue
        best = found[0]
        masked = re.sub(r"[0-9A-Za-z]", "*", match[0])
        also = [f"{other.country} {other.kind}" for other in found[1:]]
        yield *match.span(), Finding(best.kind, best.country, 0, 0, masked, best.checksum, best.test, also)


def _phones(text, today):
    for start, end, country, masked in phone.find(text):
        yield start, end, Finding("phone number", country, 0, 0, masked)
