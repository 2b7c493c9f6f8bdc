"""Serves function/handler.py over HTTP/1.1, with the standard library alone.

Every connection has a thread, which answers one call after the other. On
SIGTERM no new connection is taken, calls that have begun are finished, and the
process ends.
"""

import json
import os
import select
import signal
import site
import socket
import sys
import threading
import traceback
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
site.addsitedir(os.path.join(HERE, "packages"))

MAX_LINE = 64 * 1024
MAX_HEADERS = 1000
STOP = {signal.SIGTERM, signal.SIGINT}
REASONS = {status.value: status.phrase for status in HTTPStatus}
HOSTNAME = socket.gethostname()


class BadRequest(Exception):
    """The request cannot be understood; the connection is closed after it."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Headers(dict):
    """Header fields by name in any case; several are joined, or apart by getlist."""

    def __init__(self, fields=()):
        super().__init__()
        self._names = {}
        self.fields = []
        for name, value in fields:
            self.add(name, value)

    def add(self, name, value):
        self.fields.append((name, value))
        first = self._names.setdefault(name.lower(), name)
        if first in self.keys():
            value = self[first] + ", " + value
        super().__setitem__(first, value)

    def __getitem__(self, name):
        return super().__getitem__(self._names[name.lower()])

    def __contains__(self, name):
        return isinstance(name, str) and name.lower() in self._names

    def get(self, name, default=None):
        name = self._names.get(name.lower())
        return default if name is None else super().__getitem__(name)

    def getlist(self, name):
        name = name.lower()
        return [value for key, value in self.fields if key.lower() == name]


class Query(dict):
    """Query parameters: the first of several, or all by getlist."""

    def __init__(self, text):
        super().__init__()
        self.fields = parse_qsl(text, keep_blank_values=True)
        for name, value in self.fields:
            self.setdefault(name, value)

    def getlist(self, name):
        return [value for key, value in self.fields if key == name]


class Event:
    """A call, as handlers see it."""

    __slots__ = ("body", "headers", "method", "query", "path")

    def __init__(self, method, path, query, headers):
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = b""


class Context:
    """What a handler may know about the place where it runs."""

    __slots__ = ("hostname",)

    def __init__(self):
        self.hostname = HOSTNAME


def read_line(stream):
    line = stream.readline(MAX_LINE + 1)
    if len(line) > MAX_LINE:
        raise BadRequest(431, "a header line is too long")
    if line and not line.endswith(b"\n"):
        raise ConnectionError("the caller went away")
    return line


def read_headers(stream):
    fields = []
    while True:
        line = read_line(stream)
        if not line:
            raise ConnectionError("the caller went away")
        line = line.rstrip(b"\r\n")
        if not line:
            return Headers(fields)
        if len(fields) == MAX_HEADERS:
            raise BadRequest(431, "too many headers")
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name or name != name.strip() or " " in name:
            raise BadRequest(400, "a header line is malformed")
        fields.append((name, value.strip(" \t")))


def read_start(stream):
    """Returns the line that a call begins with, or None at the end."""
    line = read_line(stream)
    while line in (b"\r\n", b"\n"):
        line = read_line(stream)
    return line or None


def read_request(line, stream):
    """Returns a call without its body, and its HTTP version."""
    words = line.decode("latin-1").rstrip("\r\n").split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(400, "the request line is malformed")
    method, target, version = words
    if "://" in target and not target.startswith("/"):
        rest = target.split("://", 1)[1]
        target = rest[rest.find("/"):] if "/" in rest else "/"
    path, _, query = target.partition("?")
    return Event(method, unquote(path), Query(query), read_headers(stream)), version


def read_chunked(stream):
    parts = []
    while True:
        size = read_line(stream).split(b";", 1)[0].strip()
        try:
            if not size or size.strip(b"0123456789abcdefABCDEF"):
                raise ValueError
            count = int(size, 16)
        except ValueError:
            raise BadRequest(400, "a chunk of the body has no size") from None
        if count == 0:
            read_headers(stream)
            return b"".join(parts)
        parts.append(read_exactly(stream, count))
        if read_line(stream) not in (b"\r\n", b"\n"):
            raise BadRequest(400, "a chunk of the body is longer than its size")


def read_exactly(stream, count):
    data = stream.read(count)
    if len(data) != count:
        raise ConnectionError("the caller went away")
    return data


def read_body(stream, headers, connection):
    encoding = headers.get("Transfer-Encoding", "")
    lengths = set(headers.getlist("Content-Length"))
    if encoding and (encoding.lower() != "chunked" or lengths):
        raise BadRequest(400, "Transfer-Encoding must be chunked, without Content-Length")
    if len(lengths) > 1 or not all(n.isascii() and n.isdigit() for n in lengths):
        raise BadRequest(400, "Content-Length is malformed")
    if not encoding and not lengths:
        return b""
    if headers.get("Expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    if encoding:
        return read_chunked(stream)
    return read_exactly(stream, int(lengths.pop()))


def body_of(value):
    """Returns the bytes (or an iterator) of a response body and its type."""
    if value is None:
        return b"", None
    if isinstance(value, str):
        return value.encode("utf-8"), "text/html; charset=utf-8"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), "text/html; charset=utf-8"
    if isinstance(value, (dict, list)):
        return json.dumps(value).encode("utf-8"), "application/json"
    if hasattr(value, "__next__"):
        return value, "text/html; charset=utf-8"
    return str(value).encode("utf-8"), "text/html; charset=utf-8"


def answer_of(value):
    """Takes apart what a handler returned: body, status and headers."""
    if isinstance(value, tuple):
        if not 1 <= len(value) <= 3:
            raise TypeError("a tuple must be (body, status, headers), not of %d parts" % len(value))
        body, rest = value[0], value[1:]
        if len(rest) == 1 and not isinstance(rest[0], (int, str)):
            return body, 200, rest[0]
        return (body,) + (rest + (200, None)[len(rest):])
    if isinstance(value, dict) and not value.keys().isdisjoint(("statusCode", "body", "headers")):
        return value.get("body"), value.get("statusCode", 200), value.get("headers")
    if hasattr(value, "get_data") and hasattr(value, "status_code"):
        return value.get_data(), value.status_code, value.headers
    return value, 200, None


def status_of(value):
    status = int(value.split(" ", 1)[0]) if isinstance(value, str) else int(value)
    if not 200 <= status <= 999:
        raise ValueError("%r is not an HTTP status" % (value,))
    return status


def header_lines(headers):
    """Yields the lines for a dict, whose values may be lists, or for pairs."""
    pairs = headers.items() if hasattr(headers, "items") else headers or ()
    for name, value in pairs:
        for one in value if isinstance(value, (list, tuple)) else (value,):
            line = "%s: %s" % (name, one)
            if "\r" in line or "\n" in line or "\0" in line:
                raise ValueError("header %r has a line break in it" % (name,))
            yield line


class Answer:
    """A response that is ready to be sent."""

    def __init__(self, value):
        body, status, headers = answer_of(value)
        self.status = status_of(status)
        self.body, kind = body_of(body)
        framing = ("content-length:", "transfer-encoding:", "connection:")
        self.lines = [line for line in header_lines(headers) if not line.lower().startswith(framing)]
        if kind and not any(line.lower().startswith("content-type:") for line in self.lines):
            self.lines.append("Content-Type: " + kind)

    def send(self, connection, method, keep, chunks):
        streams = not isinstance(self.body, bytes)
        bodiless = self.status in (204, 304)
        lines = ["HTTP/1.1 %d %s" % (self.status, REASONS.get(self.status, ""))] + self.lines
        if streams and not bodiless:
            keep = keep and chunks
            lines += ["Transfer-Encoding: chunked"] if chunks else []
        elif not bodiless:
            lines.append("Content-Length: %d" % len(self.body))
        lines += [] if keep else ["Connection: close"]
        head = "\r\n".join(lines + ["", ""]).encode("latin-1")
        if bodiless or method == "HEAD":
            connection.sendall(head)
        elif streams:
            connection.sendall(head)
            self.stream(connection, chunks)
        elif len(self.body) <= MAX_LINE:
            connection.sendall(head + self.body)
        else:
            connection.sendall(head)
            connection.sendall(self.body)
        return keep

    def stream(self, connection, chunks):
        for part in self.body:
            part = part.encode("utf-8") if isinstance(part, str) else bytes(part)
            if not part:
                continue
            connection.sendall(b"%x\r\n%b\r\n" % (len(part), part) if chunks else part)
        if chunks:
            connection.sendall(b"0\r\n\r\n")


def failure(status, text):
    return Answer((text + "\n", status, {"Content-Type": "text/plain; charset=utf-8"}))


class Server:
    """Accepts connections until a signal tells it to stop."""

    def __init__(self, listener, handle):
        self.listener = listener
        self.handle = handle
        self.changed = threading.Condition()
        self.open = {}
        self.stopping = False

    def serve(self, signals):
        """Returns when signals has one that means to stop."""
        ready = select.poll()
        ready.register(self.listener, select.POLLIN)
        ready.register(signals, select.POLLIN)
        self.listener.setblocking(False)
        while True:
            events = dict(ready.poll())
            if signals.fileno() in events and not STOP.isdisjoint(signals.recv(4096)):
                return
            try:
                connection, _ = self.listener.accept()
            except BlockingIOError:
                continue
            with self.changed:
                self.open[connection] = False
            threading.Thread(target=self.converse, args=(connection,), daemon=True).start()

    def stop(self):
        """Ends idle connections and waits for the busy ones."""
        with self.changed:
            self.stopping = True
            for connection, busy in self.open.items():
                if not busy:
                    self.hang_up(connection)
            while self.open:
                self.changed.wait()

    @staticmethod
    def hang_up(connection):
        # A request that has arrived in full can still be read and answered.
        try:
            connection.shutdown(socket.SHUT_RD)
        except OSError:
            pass

    def mark(self, connection, busy):
        with self.changed:
            self.open[connection] = busy
            if self.stopping and not busy:
                self.hang_up(connection)
            return not self.stopping

    def converse(self, connection):
        try:
            with connection, connection.makefile("rb", MAX_LINE) as stream:
                while self.answer_one(connection, stream):
                    pass
        except (ConnectionError, TimeoutError):
            pass
        except Exception:
            traceback.print_exc()
        finally:
            with self.changed:
                del self.open[connection]
                self.changed.notify_all()

    def answer_one(self, connection, stream):
        """Answers the next call; says whether another may follow."""
        try:
            line = read_start(stream)
            if line is None:
                return False
            self.mark(connection, True)
            event, version = read_request(line, stream)
            event.body = read_body(stream, event.headers, connection)
        except BadRequest as bad:
            failure(bad.status, str(bad)).send(connection, "GET", False, False)
            return False
        wish = event.headers.get("Connection", "").lower()
        keep = "close" not in wish if version == "HTTP/1.1" else "keep-alive" in wish
        method = event.method
        answer = self.call(event)
        keep = answer.send(connection, method, keep and not self.stopping, version == "HTTP/1.1")
        return self.mark(connection, False) and keep

    def call(self, event):
        try:
            return Answer(self.handle(event, Context()))
        except Exception:
            traceback.print_exc()
            return failure(500, "the function failed: its log says why")


def listen():
    path = os.environ.get("LOFN_SOCKET")
    if path:
        if os.path.exists(path):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
    else:
        port = os.environ.get("PORT") or os.environ.get("http_port") or "5000"
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(("127.0.0.1", int(port)))
    listener.listen(1024)
    return listener


def give_up_handlers(number, frame):
    """Has a second signal end the process at once."""
    for other in STOP:
        signal.signal(other, signal.SIG_DFL)


def receive_signals():
    """Returns a socket from which the numbers of signals can be read.

    A handler runs between two steps of Python, so a signal that comes right
    before the process waits for a connection would be noticed with the next
    one only, or never.
    """
    signals, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    signal.set_wakeup_fd(wakeup.detach())
    for number in STOP:
        signal.signal(number, give_up_handlers)
    return signals


def main():
    # Log lines leave whole and at once, even if several threads print.
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    from function import handler

    server = Server(listen(), handler.handle)
    server.serve(receive_signals())
    server.listener.close()
    server.stop()


if __name__ == "__main__":
    main()
