def handle(req):
    """Answers a call.

    Args:
        req (str): the body of the request
    """
    return req
