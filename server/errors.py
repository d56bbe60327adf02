"""Errors as OpenAI's clients expect them, for every refusal that this gateway makes itself."""

from typing import Any

import orjson
from starlette.responses import Response

RETRY_AFTER_SECONDS = 2  # an engine restarts in half a minute, an adapter loads in milliseconds: ask again soon

FAILED = "the gateway failed on this request; its log has the cause"


class ApiError(Exception):
    """A refusal with its HTTP status; `code` is for programs, the message for people."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str | None = None,
        headers: dict[str, str] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.kind = kind or _kind(status)
        self.headers = headers or {}
        self.extra = extra or {}

    @property
    def body(self) -> dict[str, Any]:
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": error | self.extra}

    def response(self) -> Response:
        return Response(orjson.dumps(self.body), self.status, self.headers, "application/json")

    def event(self) -> bytes:
        """The same as a server-sent event, for a stream that has begun already."""
        return b"data: " + orjson.dumps(self.body) + b"\n\n"


def _kind(status: int) -> str:
    if status == 401:
        return "authentication_error"
    if status == 403:
        return "permission_error"
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    return ApiError(400, message, code=code, param=param)


def not_found(what: str, key: object) -> ApiError:
    return ApiError(404, f"there is no {what} {str(key)!r} that this key may see", code="not_found")


def no_model(name: object) -> ApiError:
    return ApiError(
        404,
        f"the model {str(name)!r} does not exist or is not published; GET /v1/models lists what can be asked for",
        code="model_not_found",
        param="model",
    )


def not_in_place(name: str, live: str) -> ApiError:
    message = f"{name} stands on other weights than {live}, which is live; engines have one set of them at a time"
    return ApiError(409, message, code="weights_not_in_place", param="model")


def unavailable(message: str, code: str = "engine_unavailable") -> ApiError:
    return ApiError(503, message, code=code, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def broken_off() -> ApiError:
    """Of an answer that its gateway did not live to end."""
    return ApiError(502, "this answer was interrupted: the gateway that wrote it ended", code="interrupted")
