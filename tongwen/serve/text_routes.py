"""Routes that only turn texts, messages and files into tokens and back."""

import asyncio
from typing import Any

from fastapi import Request

from tongwen.errors import TongwenError
from tongwen.serve.attachments import AttachmentError, AttachmentReader
from tongwen.serve.bodies import read_json
from tongwen.serve.encoding import PromptEncoder
from tongwen.serve.engine import Engine
from tongwen.serve.fields import ApiError, Fields
from tongwen.serve.openai import chat_prompt
from tongwen.serve.request import check_messages, check_model, take_ids
from tongwen.serve.settings import ServeSettings
from tongwen.serve.tools import ToolUse, parse_tools
from tongwen.tokenizer.prompts import ChatPrompt


class TextRoutes:
    """The routes of one model's tokenizer and template.

    Args:
        engine: whose tokenizer it is.
        encoder: writes dialogues.
        name: of the model.
        settings: limits of bodies.
    """

    def __init__(
        self, engine: Engine, encoder: PromptEncoder, name: str, settings: ServeSettings
    ) -> None:
        self._engine = engine
        self._encoder = encoder
        self._name = name
        self._settings = settings
        self._attachments = AttachmentReader()

    async def tokenize(self, request: Request) -> dict[str, Any]:
        """The ids of a text or of messages, by vLLM's or llama.cpp's field names."""
        fields = await self._fields(request)
        text = fields.take("prompt", str, None)
        text = fields.take("content", str, text)
        shows_pieces = fields.take("return_token_strs", bool, False)
        shows_pieces = fields.take("with_pieces", bool, shows_pieces)
        reads_special = fields.take("parse_special", bool, True)
        if text is None:
            ids = await asyncio.to_thread(self._encoder.dialogue, _chat_prompt(fields))
        else:
            try:
                ids = await asyncio.to_thread(
                    self._engine.tokenizer.encode, text, allow_special=reads_special
                )
            except TongwenError as error:
                raise ApiError(400, error.message, param="prompt") from error
        shown = [self._engine.tokenizer.piece(number) for number in ids] if shows_pieces else None
        return {
            "count": len(ids),
            "max_model_len": self._engine.context_tokens,
            "tokens": ids,
            "token_strs": shown,
        }

    async def detokenize(self, request: Request) -> dict[str, Any]:
        """The text of ids, special ones by their names."""
        fields = await self._fields(request)
        ids = take_ids(fields, "tokens")
        largest = self._engine.config.vocabulary_size - 1
        if (wrong := next((i for i in ids if i > largest), None)) is not None:
            message = f"tokens holds the id {wrong}; ids are 0 to {largest:,}"
            raise ApiError(400, message, param="tokens")
        try:
            text = self._engine.tokenizer.decode(ids, show_special=True)
        except TongwenError as error:
            raise ApiError(400, error.message, param="tokens") from error
        return {"prompt": text, "content": text}

    async def apply_template(self, request: Request) -> dict[str, Any]:
        """The prompt of messages as text."""
        prompt = _chat_prompt(await self._fields(request))
        template = self._encoder.template
        try:
            return {"prompt": await asyncio.to_thread(template.render, prompt)}
        except TongwenError as error:
            raise ApiError(400, error.message, param="messages") from error

    async def attach(self, request: Request) -> dict[str, Any]:
        """The text of a file that somebody wants to ask about, and its tokens."""
        fields = Fields.of_body(await read_json(request, self._settings))
        name, content = fields.required("name", str), fields.required("content", str)
        try:
            found = await self._attachments.read(name, content)
        except AttachmentError as error:
            code, words = f"attachment_{error.problem}", error.message
            hint = f"; {error.hint}" if error.hint else ""
            raise ApiError(400, words + hint, code=code, param="content") from error
        ids = await asyncio.to_thread(self._engine.tokenizer.encode, found.text)
        return {"name": name, "format": found.format, "text": found.text, "tokens": len(ids)}

    async def _fields(self, request: Request) -> Fields:
        fields = Fields.of_body(await read_json(request, self._settings))
        check_model(fields.take("model", str, self._name), self._name)
        return fields


def _chat_prompt(fields: Fields) -> ChatPrompt:
    turns = check_messages(fields.take_any("messages"))
    tools = ToolUse(parse_tools(fields.take("tools", list, [])))
    return chat_prompt(fields, turns, tools)
