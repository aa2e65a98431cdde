"""What the server answers when it does not do what it was asked for."""

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from tongwen.serve.anthropic import error_body
from tongwen.serve.fields import ApiError
from tongwen.serve.openapi import PLACES

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


def add_refusals(app: FastAPI) -> None:
    """Have every error of the application answered as an object that clients understand."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _internal_error)


async def not_here(request: Request) -> None:
    """The answer for every place below /v1 that this server does not have."""
    raise HTTPException(404)


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    headers = dict(error.headers) if error.headers else None
    is_anthropic = "/messages" in request.url.path
    body = error_body(error) if is_anthropic else error.body
    return JSONResponse(body, error.status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    """Say which places there are, or which method one of them takes."""
    assert isinstance(error, HTTPException)
    asked = f"{request.method} {request.url.path}"
    place = request.url.path.rstrip("/")
    method = PLACES.get(place) or PLACES.get(f"/v1{place}")
    if method is not None and error.status_code in (404, 405):
        shown = ApiError(405, f"{place} takes {method}, not {request.method}")
        return JSONResponse(shown.body, 405, {"Allow": method})
    # Of the page's files 405 means that whatever is asked for is not there.
    status = 404 if error.status_code == 405 else error.status_code
    known = ", ".join(f"{method} {place}" for place, method in PLACES.items())
    words = f"this server has no {asked}; it has {known}" if status == 404 else error.detail
    code = "not_found" if status == 404 else None
    return JSONResponse(ApiError(status, words, code=code).body, status)


async def _internal_error(_: Request, __: Exception) -> Response:
    error = ApiError(500, "the server failed; see its log", kind="server_error")
    return JSONResponse(error.body, 500)
