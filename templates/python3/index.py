"""Gives function/handler.py one call: the body on stdin, the answer on stdout."""

import os
import site
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
site.addsitedir(os.path.join(HERE, "packages"))

from function import handler  # noqa: E402  (needs the paths above)


def main():
    # Bytes that are not text pass through unharmed, both ways.
    body = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    answer = handler.handle(body)
    if answer is None:
        return
    if not isinstance(answer, bytes):
        answer = (str(answer) + "\n").encode("utf-8", "surrogateescape")
    sys.stdout.flush()
    sys.stdout.buffer.write(answer)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
