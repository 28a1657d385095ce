"""The errors of the client. A message names the method and the URL without its query, which may contain an API key."""

from kns.model.errors import KnsError, clip


class ClientError(KnsError):
    """A call to kns failed."""


class NoResponseError(ClientError):
    """The server did not respond: no connection, a broken connection, or a timeout. `kind` is the name of the cause."""

    def __init__(self, call: str, cause: Exception) -> None:
        self.kind = type(cause).__name__
        super().__init__(f"{call}: no response: {cause or self.kind}")


class ResponseError(ClientError):
    """
    The server responded with an error. `call` is method and URL, `status` the HTTP status, `text` the error text of the
    body.
    """

    def __init__(self, call: str, status: int, text: str) -> None:
        self.call = call
        self.status = status
        self.text = text
        super().__init__(f"{call}: {status} {text}")


class UnknownJobError(ClientError):
    """kns does not list the job: it belongs to another user, or its record was deleted."""


class AnswerError(ClientError):
    """The answer is not one of kns, so the address leads to something else. `why` is the first difference."""

    def __init__(self, call: str, why: str) -> None:
        super().__init__(f"{call}: the answer is not one of kns: {clip(why, 200)}")
