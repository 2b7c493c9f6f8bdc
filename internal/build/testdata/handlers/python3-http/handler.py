import os
import pathlib
import time


def fields(event, context):
    return {"body": {
        "method": event.method,
        "path": event.path,
        "query": event.query.get("colour"),
        "header": event.headers.get("x-thing"),
        "length": len(event.body),
        "hostname": context.hostname,
    }}


def status(event, context):
    return {
        "statusCode": 418,
        "headers": {"X-One": "1", "X-Many": ["a", "b"], "Content-Type": "text/plain"},
        "body": "a teapot",
    }


def echo(event, context):
    return {"headers": {"Content-Type": "application/octet-stream"}, "body": event.body}


def fail(event, context):
    raise RuntimeError("the handler broke on purpose")


def slow(event, context):
    folder = pathlib.Path(event.query["folder"])
    (folder / "begun").touch()
    while not (folder / "finish").exists():
        time.sleep(0.005)
    return "finished"


def nothing(event, context):
    return None


def pair(event, context):
    return "made", 201


def triple(event, context):
    return "made", 201, {"X-One": "1"}


def pairs(event, context):
    return "made", 201, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]


def listing(event, context):
    return [1, 2, 3]


def stream(event, context):
    return (part for part in ("one ", b"two ", "", "three")), 200, {"Content-Type": "text/event-stream"}


def broken_stream(event, context):
    def parts():
        yield "begun"
        raise RuntimeError("the stream broke on purpose")

    return parts(), 200


def split(event, context):
    return {"headers": {"X-One": "1\r\nX-Two: 2"}, "body": ""}


def no_status(event, context):
    return {"statusCode": "teapot", "body": ""}


def gone(event, context):
    return {"statusCode": 204, "body": "not sent"}


def twice(event, context):
    return {"body": [event.headers["X-Thing"], event.headers.getlist("x-thing"), event.query.getlist("n"), "X-THING" in event.headers]}


def folder(event, context):
    return {"body": {"cwd": os.getcwd(), "file": __file__}}


def handle(event, context):
    return globals()[event.path.strip("/")](event, context)
