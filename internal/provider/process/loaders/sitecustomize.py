"""Holds an interpreter before it runs a function's program.

Python imports a module of this name when it has started. This one loads what
programs that serve HTTP use, and waits on descriptor 3 to be told by the
platform which function to become: a working directory and an environment,
separated by zero bytes. Then it makes itself unknown, and Python goes on to run
the program on its command line, as if it had started only now.
"""

import sys

known = set(sys.modules)

import http
import json
import os
import selectors
import signal
import site
import socket
import threading
import traceback
import urllib.parse

CHANNEL = 3


def receive():
    """Tells the platform that all is loaded, and returns its message."""
    os.write(CHANNEL, b"w")
    parts = []
    while True:
        part = os.read(CHANNEL, 65536)
        if not part:
            return b"".join(parts).split(b"\0")
        parts.append(part)


def shadowed():
    """Says whether the program brings a module in place of one loaded here."""
    folder = os.path.dirname(os.path.realpath(sys.argv[0]))
    try:
        own = {name.split(".")[0] for name in os.listdir(folder)}
    except OSError:
        return True  # Python itself says best what is wrong
    loaded = {name.split(".")[0] for name in sys.modules.keys() - known}
    return not own.isdisjoint(loaded)


def become(folder, environment):
    # Python itself sets this one where the locale is "C".
    locale = os.environb.get(b"LC_CTYPE")
    os.environb.clear()
    if locale is not None:
        os.environb[b"LC_CTYPE"] = locale
    os.environb.update(pair.split(b"=", 1) for pair in environment)
    os.chdir(folder)
    if shadowed():
        with open("/proc/self/cmdline", "rb") as line:
            os.execv("/proc/self/exe", line.read().split(b"\0")[:-1])
    here = os.path.dirname(__file__)
    sys.path.remove(here)
    sys.path_importer_cache.pop(here, None)
    del sys.modules[__name__]


message = receive()
if len(message) < 2:
    os._exit(0)  # the platform does not need this process any more
os.write(CHANNEL, b"b")
os.close(CHANNEL)
try:
    become(message[0], message[1:])
except BaseException:
    # Python would go on without.
    traceback.print_exc()
    os._exit(1)
# The machine may have a module of this name too.
import sitecustomize
