import os


def handle(req):
    if os.getenv("Http_Method") == "DELETE":
        raise RuntimeError("the handler broke on purpose")
    if req == "nothing":
        return None
    return req.upper()
