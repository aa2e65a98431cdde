"""The body of a request, read within its limits."""

import asyncio
import json

from fastapi import Request
from starlette.requests import ClientDisconnect

from tongwen.serve.fields import ApiError
from tongwen.serve.settings import ServeSettings


async def read_json(request: Request, settings: ServeSettings) -> object:
    """The JSON value of a request's body.

    Raises:
        ApiError: 400, 408 or 413; it is not JSON, slower or larger than the settings allow.
    """
    body = bytearray()
    most = settings.body_mib << 20
    seconds = settings.body_seconds
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.stream():
                body += piece
                if len(body) > most:
                    raise ApiError(413, f"the body is larger than {most >> 20} MiB")
    except ClientDisconnect as error:
        raise ApiError(400, "the client left before its body had arrived") from error
    except TimeoutError as error:
        raise ApiError(
            408, f"the body has not arrived within {seconds} s", headers={"Connection": "close"}
        ) from error
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {error}") from error
