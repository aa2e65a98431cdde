"""The engine: one thread owns the model and writes several answers at once.

Each round reads one piece of a waiting prompt and then adds a token to every answer, so a long
prompt never holds up the answers that are being written.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tongwen.errors import InputError, TongwenError
from tongwen.model.cache import CacheKind, new_cache
from tongwen.model.decoding import PREFILL_TOKENS, DecodingBatch, Prefill
from tongwen.model.device import free_memory_bytes
from tongwen.model.llama import Llama
from tongwen.model.prefix_cache import PrefixCache
from tongwen.serve.generation import Delta, Generation, GenerationRequest
from tongwen.serve.lookup import ROWS_AT_ONCE
from tongwen.serve.scores import PromptScores
from tongwen.serve.waiting import WaitingLine
from tongwen.tokenizer.text import Tokenizer

if TYPE_CHECKING:
    from tongwen.serve.grammar import Grammars, GrammarState

logger = logging.getLogger("tongwen.serve")


_CPU_BLOCK_TOKENS = 128
"""Prompt tokens read at once and kept together: less than a block of what a prompt shares with
another is read again."""
_GPU_BLOCK_TOKENS = 512
_READING_SECONDS = 0.1
"""A prompt is read so long, at least a block, before every answer gets its next token. A block
costs more the more was read before it, so a number of tokens alone is no limit."""


class ContextLengthError(InputError):
    """The prompt leaves no place for an answer in the model's window. It is never truncated."""


class GrammarError(InputError):
    """The grammar of an answer has an error, or is too large."""


class EngineBusyError(TongwenError):
    """Too many requests are waiting."""


class Engine:
    """Answers requests with one model.

    Args:
        model: ready to run.
        tokenizer: turns the answer's ids into text.
        stop_ids: an answer ends before the first of these.
        concurrent_requests: answers written at once.
        waiting_requests: requests that may wait beyond them.
        waiting_tokens: prompt tokens that may wait.
        batch_tokens: answers written at once times the longest of them, with its prompt and what it
            may grow to; None is what fits in a quarter of the free memory. One is always written.
        cache: of keys and values.
        context_tokens: the window; None is the model's own, or what fits in a quarter of the free
            memory where that is less.
        prefix_bytes: memory for keys and values of prompts that were read, for prompts that begin
            the same; None is an eighth of the free memory, 0 keeps none.
        looks_up: guess the next tokens from the text before them, where that pays; changes no
            answer.
    """

    def __init__(
        self,
        model: Llama,
        tokenizer: Tokenizer,
        stop_ids: Collection[int],
        *,
        concurrent_requests: int = 8,
        waiting_requests: int = 64,
        waiting_tokens: int = 1_000_000,
        batch_tokens: int | None = None,
        cache: CacheKind = "auto",
        context_tokens: int | None = None,
        prefix_bytes: int | None = None,
        looks_up: bool = True,
    ) -> None:
        self.tokenizer = tokenizer
        self.config = model.config
        self.fitting_tokens = _fitting_tokens(model, cache)
        """Tokens whose keys and values fit in a quarter of the free memory."""
        window = model.config.max_position_embeddings
        self.context_tokens = context_tokens or max(1, min(window, self.fitting_tokens))
        if self.context_tokens > window:
            raise InputError(
                f"serve.context_tokens is {self.context_tokens:,}; the window of this model has "
                f"{window:,} tokens",
                hint=f"use at most {window}, or lengthen the window: tongwen extend",
            )
        self._model = model
        self._stop_ids = frozenset(stop_ids)
        self._concurrent_requests = concurrent_requests
        self._waiting_requests = waiting_requests
        self._waiting_tokens = waiting_tokens
        self._batch_tokens = self.fitting_tokens if batch_tokens is None else batch_tokens
        self._waiting = WaitingLine()
        self._grammar_lock = threading.Lock()
        self._grammars: Grammars | None = None
        self._wake = threading.Condition()
        self._is_closing = False
        block_tokens = _GPU_BLOCK_TOKENS if model.device.type == "cuda" else _CPU_BLOCK_TOKENS
        if prefix_bytes is None:
            prefix_bytes = free_memory_bytes(model.device) // 8
        self._looks_up = looks_up
        self.guessed_tokens = self.right_tokens = 0
        """Tokens that were guessed in all answers that have ended, and those of them written."""
        # These five belong to the engine's thread.
        self._prefixes = PrefixCache(prefix_bytes, block_tokens)
        self._reading: Generation | None = None
        self._prefill: Prefill | None = None
        self._writing: list[Generation] = []
        self._cache: CacheKind = cache
        self._batch = DecodingBatch(model, cache)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def check(self, request: GenerationRequest) -> None:
        """Refuse what can never be answered.

        Raises:
            InputError: the prompt is empty, or an id is named that the model does not know.
            ContextLengthError: no place is left for an answer.
            GrammarError: the grammar cannot be used.
        """
        if not request.prompt_ids:
            raise InputError("the prompt is empty", hint="give the model a first token")
        largest = self._model.config.vocabulary_size - 1
        for what, ids in (
            ("the prompt holds", request.prompt_ids),
            ("the stop ids hold", request.stop_ids),
            ("the logit bias holds", request.sampling.logit_bias),
        ):
            wrong = next((i for i in ids if not 0 <= i <= largest), None)
            if wrong is not None:
                raise InputError(f"{what} the token id {wrong}; ids are 0 to {largest:,}")
        needed = len(request.prompt_ids) + (request.max_tokens != 0)
        if needed > self.context_tokens:
            raise ContextLengthError(
                f"the request needs {needed:,} tokens, its prompt and at least one of an answer; "
                f"the context window of this model has {self.context_tokens:,}",
                hint="shorten the prompt; it is never cut silently",
            )
        if request.grammar is not None:
            try:
                self._grammar_state(request.grammar)
            except InputError as error:
                raise GrammarError(error.message) from error

    def _grammar_state(self, grammar: str) -> "GrammarState":
        with self._grammar_lock:  # for the first grammar alone: compiling one holds up no other
            if self._grammars is None:
                from tongwen.serve.grammar import Grammars

                self._grammars = Grammars(self.tokenizer, self._stop_ids)
        return self._grammars.state(grammar)

    def submit(self, request: GenerationRequest, deliver: Callable[[Delta], None]) -> Generation:
        """Queue a request. `deliver` is called from the engine's thread with each delta.

        Raises:
            EngineBusyError: too many requests are waiting.
            InputError: see `check`.
        """
        self.check(request)
        space = self.context_tokens - len(request.prompt_ids)
        generation = Generation(
            request,
            max_tokens=space if request.max_tokens is None else min(request.max_tokens, space),
            stop_ids=self._stop_ids,
            decoder=self.tokenizer.streaming_decoder(),
            grammar=None if request.grammar is None else self._grammar_state(request.grammar),
            deliver=deliver,
        )
        with self._wake:
            self._check_place(request)
            self._waiting.append(generation)
            self._wake.notify()
        return generation

    def check_place(self, request: GenerationRequest) -> None:
        """Refuse a request for which there is no place now.

        Raises:
            EngineBusyError: too much is waiting already.
        """
        with self._wake:
            self._check_place(request)

    def _check_place(self, request: GenerationRequest) -> None:
        """The same for who holds the lock."""
        waiting = self._waiting
        if self._is_closing:
            raise EngineBusyError("the server is stopping")
        if not waiting.has_place(
            request.client,
            len(request.prompt_ids),
            requests=self._waiting_requests,
            prompt_tokens=self._waiting_tokens,
        ):
            raise EngineBusyError(
                f"{len(waiting)} requests with prompts of {waiting.prompt_tokens:,} tokens are "
                "waiting already",
                hint="try again later, or raise serve.waiting_requests or serve.waiting_tokens",
            )

    def abort(self, generation: Generation) -> None:
        """Stop an answer; nothing more of it is delivered, and its place is free after a round."""
        generation.is_aborted = True
        with self._wake:
            self._waiting.remove(generation)

    def stream(self, request: GenerationRequest) -> Iterator[Delta]:
        """The answer, piece by piece. Leaving the loop early stops the answer.

        Raises:
            EngineBusyError, InputError: see `submit`.
            TongwenError: the answer broke off.
        """
        deltas: queue.SimpleQueue[Delta] = queue.SimpleQueue()
        generation = self.submit(request, deltas.put)
        try:
            while True:
                delta = deltas.get()
                if delta.error is not None:
                    raise TongwenError(f"the answer broke off: {delta.error}")
                yield delta
                if delta.finish is not None:
                    return
        finally:
            self.abort(generation)

    @property
    def active_requests(self) -> int:
        """Requests that wait or are being answered."""
        return self.waiting_requests + len(self._writing) + (self._reading is not None)

    @property
    def waiting_requests(self) -> int:
        """Requests whose prompt nobody reads yet."""
        with self._wake:
            return len(self._waiting)

    def load_prefixes(self, path: Path, model_digest: str) -> int:
        """Take the prefixes that `save_prefixes` wrote; before the first request only.

        Args:
            path: the file.
            model_digest: names the model's weights.

        Returns:
            Tokens that are known now.

        Raises:
            InputError: the file is damaged, or of another model, dtype or kind of cache.
        """
        like = new_cache(self._model, 1, 1, self._cache)
        self._prefixes.load(path, self._prefix_identity(model_digest), like)
        return self._prefixes.tokens

    def save_prefixes(self, path: Path, model_digest: str) -> int:
        """Write the keys and values of prompts to a file; after `close` only.

        Returns:
            Tokens written.

        Raises:
            DiskFullError: no space is left.
        """
        assert not self._thread.is_alive(), "the engine's thread may change them"
        self._prefixes.save(path, self._prefix_identity(model_digest))
        return self._prefixes.tokens

    def _prefix_identity(self, model_digest: str) -> dict[str, str]:
        held = new_cache(self._model, 1, 1, self._cache).tensors()[0].dtype
        return {
            "model": model_digest,
            "activations": str(self._model.dtype),
            "cache": str(held),
            "device": self._model.device.type,
        }

    def close(self) -> None:
        """Stop all answers and end the thread."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (
                    self._is_closing or len(self._waiting) or self._reading or self._writing
                ):
                    self._wake.wait()
                if self._is_closing:
                    break
            try:
                self._read_prompt()
                self._write_tokens()
            except Exception as error:
                # One bad round must not take the server down; what was in it cannot go on.
                logger.exception("a round of the engine failed")
                memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
                self._fail_all("out of memory" if memory else "the model failed; see the log")
        self._fail_all("the server is stopping")

    def _read_prompt(self) -> None:
        """Read one piece of the prompt whose turn it is."""
        if self._reading is None and len(self._writing) < self._concurrent_requests:
            with self._wake:
                following = self._waiting.next()
                if following is not None and self._has_room(following):
                    self._reading = self._waiting.pop()
        if self._reading is None:
            return
        if self._prefill is None:
            self._prefill = self._start_reading(self._reading)
            self._reading.report(self._prefill.tokens)
        logits_V = self._advance(self._reading, self._prefill)
        self._reading.report(self._prefill.tokens)
        if logits_V is not None or self._reading.is_aborted:
            self._keep_prefix(self._reading, self._prefill)
        if logits_V is not None and _take(self._reading, logits_V):
            self._batch.append(self._prefill)
            self._writing.append(self._reading)
        if logits_V is not None or self._reading.is_aborted:
            self._reading = self._prefill = None

    def _advance(self, reading: Generation, prefill: Prefill) -> Tensor | None:
        """Read on until answers that are being written have waited long enough."""
        pause = prefill.tokens + PREFILL_TOKENS
        until = time.monotonic() + _READING_SECONDS
        logits_V = None
        while logits_V is None and prefill.tokens < pause and not reading.is_aborted:
            logits_V = prefill.advance()
            if time.monotonic() >= until:
                break
        return logits_V

    def _has_room(self, generation: Generation) -> bool:
        """Whether the cache has room for one more: every row is as long as the longest."""
        longest = max(map(_most_tokens, [*self._writing, generation]))
        return not self._writing or longest * (len(self._writing) + 1) <= self._batch_tokens

    def _start_reading(self, generation: Generation) -> Prefill:
        request = generation.request
        ids = request.prompt_ids
        cache = new_cache(self._model, 1, len(ids), self._cache)
        observe = None
        if request.scores_prompt:
            generation.prompt_scores = PromptScores(self._model, ids, request.logprobs or 0)
            observe = generation.prompt_scores.observe
        elif not self._model.config.turns_by_length(len(ids)):
            generation.cached_tokens = self._prefixes.restore(ids, cache)
        return Prefill(
            self._model,
            ids,
            cache=cache,
            known_tokens=generation.cached_tokens,
            piece_tokens=self._prefixes.block_tokens,
            observe=observe,
        )

    def _keep_prefix(self, generation: Generation, prefill: Prefill) -> None:
        ids = generation.request.prompt_ids
        if not self._model.config.turns_by_length(len(ids)):
            self._prefixes.keep(ids[: prefill.tokens], prefill.cache)

    def _write_tokens(self) -> None:
        """Add one token to every answer."""
        for row in reversed(range(len(self._writing))):
            if self._writing[row].is_aborted:
                self._remove(row)
        if not self._writing:
            return
        guesses = self._guesses()
        if not any(guesses):
            logits_BV = self._batch.step([generation.last_id for generation in self._writing])
            # From the last row to the first: a removed row is replaced by one already dealt with.
            for row in reversed(range(len(self._writing))):
                if not _take(self._writing[row], logits_BV[row]):
                    self._remove(row)
            return
        writing = self._writing
        tried = [[one.last_id, *guess] for one, guess in zip(writing, guesses, strict=True)]
        logits = self._batch.try_tokens(tried)
        for row in reversed(range(len(writing))):
            if not self._take_tried(row, guesses[row], logits[row]):
                self._remove(row)

    def _guesses(self) -> list[list[int]]:
        """What may follow each answer's last token: as many as a step has cheap rows left for."""
        writing, space = self._writing, ROWS_AT_ONCE - len(self._writing)
        if not self._looks_up or not self._batch.can_try or space < 1:
            return [[] for _ in writing]
        found: list[list[int]] = []
        for number, generation in enumerate(writing):
            guess = generation.guess(-(-space // (len(writing) - number)))
            space -= len(guess)
            found.append(guess)
        return found

    def _take_tried(self, row: int, guess: list[int], logits_TV: Tensor) -> bool:
        """Take the tokens of one answer up to the first that was not guessed."""
        generation = self._writing[row]
        for number, logits_V in enumerate(logits_TV):
            goes_on = _take(generation, logits_V)
            is_right = number < len(guess) and generation.last_id == guess[number]
            if not goes_on or not is_right:
                generation.lookup.judge(len(guess), number + is_right)
                self._batch.keep(row, number + 1)
                return goes_on
        raise AssertionError("the last logits have no guess to be right")

    def _remove(self, row: int) -> None:
        ended = self._writing[row]
        self.guessed_tokens += ended.lookup.guessed
        self.right_tokens += ended.lookup.right
        with self._wake:
            self._waiting.charge(ended.request.client, ended.completion_tokens)
        self._batch.remove(row)
        self._writing[row] = self._writing[-1]
        self._writing.pop()

    def _fail_all(self, message: str) -> None:
        with self._wake:
            failed = list(self._writing)
            if self._reading is not None:
                failed.append(self._reading)
            if self._is_closing:
                failed.extend(self._waiting.clear())
            self._reading = self._prefill = None
            self._writing = []
            self._batch = DecodingBatch(self._model, self._cache)
        for generation in failed:
            generation.fail(message)


def _take(generation: Generation, logits_V: Tensor) -> bool:
    """`Generation.take`; an error in choosing one answer's token ends that answer alone."""
    try:
        return generation.take(logits_V)
    except TongwenError as error:
        is_request_at_fault = isinstance(error, InputError)
        generation.fail(error.message, is_request_at_fault=is_request_at_fault)
        return False
    except Exception:
        logger.exception("a token could not be chosen")
        generation.fail("the next token could not be chosen; see the log")
        return False


def _most_tokens(generation: Generation) -> int:
    """Tokens of an answer with its prompt when it is as long as it may become."""
    return len(generation.request.prompt_ids) + generation.max_tokens


def _fitting_tokens(model: Llama, kind: CacheKind) -> int:
    """Cached tokens that fit in a quarter of the free memory: growing a cache copies it."""
    tensors = new_cache(model, 1, 1, kind).tensors()
    token_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return free_memory_bytes(model.device) // 4 // token_bytes
