"""What a request asks for, as requests that the engine takes."""

from collections.abc import Sequence
from dataclasses import replace

from tongwen.errors import TongwenError
from tongwen.serve.engine import ContextLengthError, Engine, GrammarError
from tongwen.serve.fields import ApiError
from tongwen.serve.generation import GenerationRequest
from tongwen.serve.request import AnswerRequest
from tongwen.tokenizer.prompts import ChatPrompt, ChatTemplate

_NO_CHAT = "this model cannot chat: it has no chat template and its tokenizer no ChatML markers"

Prompts = Sequence[tuple[int, ...]]


class PromptEncoder:
    """Encodes prompts for one model.

    Args:
        engine: that will answer them.
        template: writes dialogues; None where the model knows none.
    """

    def __init__(self, engine: Engine, template: ChatTemplate | None) -> None:
        self._engine = engine
        self._template = template

    @property
    def template(self) -> ChatTemplate:
        """What writes dialogues.

        Raises:
            ApiError: 400; the model knows none.
        """
        if self._template is None:
            raise ApiError(400, f"{_NO_CHAT}; use /v1/completions instead")
        return self._template

    def dialogue(self, prompt: ChatPrompt) -> list[int]:
        """The token ids of a dialogue.

        Raises:
            ApiError: 400; the model cannot chat, or not in this form.
        """
        try:
            return self.template.encode(prompt)
        except TongwenError as error:
            raise ApiError(400, error.message, param="messages") from error

    def prompts(self, wanted: AnswerRequest) -> Prompts:
        """The token ids of every prompt of a request.

        Raises:
            ApiError: 400; one of them cannot be encoded.
        """
        if wanted.chat is not None:
            return [tuple(self.dialogue(wanted.chat))]
        tokenizer = self._engine.tokenizer
        try:
            return [
                (
                    *tokenizer.beginning_ids,
                    *tokenizer.encode(prompt, allow_special=wanted.reads_special),
                )
                if isinstance(prompt, str)
                else prompt
                for prompt in wanted.prompts
            ]
        except TongwenError as error:
            raise ApiError(400, error.message, param="prompt") from error

    def requests(
        self, wanted: AnswerRequest, client: str
    ) -> tuple[Prompts, list[GenerationRequest]]:
        """The prompts, and a request for every answer.

        Raises:
            ApiError: 400; one of them can never be answered.
        """
        prompts = self.prompts(wanted)
        param = "prompt" if wanted.chat is None else "messages"
        requests = []
        try:
            for prompt_ids in prompts:
                request = _request(wanted, prompt_ids, client)
                self._engine.check(request)
                requests += [_numbered(request, number) for number in range(wanted.answers)]
        except ContextLengthError as error:
            code = "context_length_exceeded"
            raise ApiError(400, error.message, code=code, param=param) from error
        except GrammarError as error:
            param = "tools" if wanted.tools.callable_names else "response_format"
            raise ApiError(400, error.message, param=param) from error
        except TongwenError as error:
            raise ApiError(400, error.message, param=param) from error
        return prompts, requests


def _request(wanted: AnswerRequest, prompt_ids: tuple[int, ...], client: str) -> GenerationRequest:
    return GenerationRequest(
        prompt_ids=prompt_ids,
        max_tokens=wanted.max_tokens,
        min_tokens=wanted.min_tokens,
        stop=wanted.stop,
        stop_ids=wanted.stop_ids,
        ignores_eos=wanted.ignores_eos,
        sampling=wanted.sampling,
        grammar=wanted.grammar,
        logprobs=wanted.logprobs,
        scores_prompt=wanted.echoes and wanted.logprobs is not None,
        reports_progress=wanted.reports_progress and wanted.is_stream,
        client=client,
    )


def _numbered(request: GenerationRequest, number: int) -> GenerationRequest:
    """The request for one of several answers: a seed gives each of them its own draws."""
    seed = request.sampling.seed
    if seed is None or number == 0:
        return request
    return replace(request, sampling=replace(request.sampling, seed=seed + number))
