"""Finds e-mail addresses, phone numbers and Nordic personal identity numbers in
the text of the request body, before it is published, mailed or put in a log.

Query:
  format=json|text  how to answer; else the Accept header decides, else json
  redact=1          answer with the text itself, each finding masked

The answer never holds a value that was found, and nothing is logged.
"""

from __future__ import annotations

import collections
import datetime
import json

from . import scan

# The text is held in memory, several times over.
MAX_BYTES = 32 << 20


def handle(event, context):
    try:
        answer_format = _format(event)
        redact = _flag(event.query.get("redact"))
    except ValueError as error:
        return _answer(400, f"{error}\n")
    body = event.body or b""
    if len(body) > MAX_BYTES:
        return _answer(413, f"the text has {len(body)} bytes, at most {MAX_BYTES} are scanned at once: split it\n")
    text, encoding = _decode(body)
    findings = scan.scan(text, datetime.date.today())
    if redact:
        return _answer(200, scan.redact(text, findings))
    if answer_format == "text":
        return _answer(200, _table(findings))
    return _answer(200, _json(findings, encoding), "application/json")


def _format(event):
    wanted = event.query.get("format")
    if wanted in ("json", "text"):
        return wanted
    if wanted:
        raise ValueError(f"format: {wanted!r} is unknown, use json or text")
    for accepted in (event.headers.get("Accept") or "").split(","):
        media_type = accepted.partition(";")[0].strip()
        if media_type == "text/plain":
            return "text"
        if media_type in ("application/json", "*/*"):
            return "json"
    return "json"


def _flag(value):
    if value in (None, "", "0", "false"):
        return False
    if value in ("1", "true"):
        return True
    raise ValueError(f"redact: {value!r} is unknown, use 1 or 0")


def _decode(body):
    """UTF-8 with or without a mark, else the Windows encoding of older files;
    in that, every sequence of bytes is some text."""
    try:
        return body.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        return body.decode("cp1252", errors="replace"), "windows-1252"


def _json(findings, encoding):
    counts = collections.Counter(finding.kind for finding in findings)
    answer = {
        "encoding": encoding,
        "total": len(findings),
        "counts": dict(sorted(counts.items())),
        "findings": [finding.public() for finding in findings],
    }
    return json.dumps(answer, ensure_ascii=False, indent=2) + "\n"


def _table(findings):
    if not findings:
        return "nothing found\n"
    rows = [("place", "kind", "country", "masked", "remarks")]
    for finding in findings:
        remarks = [f"checksum {finding.checksum}"] if finding.checksum else []
        remarks += ["test number"] if finding.test else []
        remarks += [f"or {other}" for other in finding.also]
        rows.append((f"{finding.line}:{finding.column}", finding.kind, finding.country or "-", finding.masked, ", ".join(remarks)))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join([cell.ljust(width) for cell, width in zip(row, widths)] + [row[4]]).rstrip() for row in rows]
    return "\n".join(lines) + f"\n{len(findings)} found\n"


def _answer(status, body, content_type="text/plain; charset=utf-8"):
    return {"statusCode": status, "body": body, "headers": {"Content-Type": content_type}}
