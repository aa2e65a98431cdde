"""What a model in training writes after the user's prompts, to be read and not only measured."""

from collections.abc import Sequence
from pathlib import Path

import torch

from tongwen.model.generate import generate
from tongwen.model.llama import Llama
from tongwen.tokenizer.text import Tokenizer


class SampleWriter:
    """Continues prompts with the likeliest tokens: the same weights write the same.

    Args:
        tokenizer_folder: of the model's tokenizer.
        prompts: texts to continue, or questions.
        max_new_tokens: of each text.
        as_questions: ask the prompts in the chat format, where the tokenizer has one.
    """

    def __init__(
        self,
        tokenizer_folder: Path,
        prompts: Sequence[str],
        max_new_tokens: int,
        *,
        as_questions: bool,
    ) -> None:
        self._tokenizer = Tokenizer.load(tokenizer_folder)
        self._prompts = prompts
        self._max_new_tokens = max_new_tokens
        is_chat = as_questions and self._tokenizer.has_chat
        self._ids = [self._prompt_ids(prompt, is_chat=is_chat) for prompt in prompts]

    def write(self, model: Llama) -> list[tuple[str, str]]:
        """Each prompt with what the model makes of it; a prompt that fills the window is left out.

        The model is as trainable afterwards as before, and no random number is drawn.
        """
        window = model.config.max_position_embeddings
        chosen = [number for number, ids in enumerate(self._ids) if len(ids) < window]
        was_training = model.training
        model.eval()
        try:
            with torch.inference_mode():
                answers = generate(
                    model,
                    [self._ids[number] for number in chosen],
                    max_new_tokens=self._max_new_tokens,
                    stop_ids=self._tokenizer.stop_ids,
                )
        finally:
            model.train(was_training)
        return [
            (self._prompts[number], self._tokenizer.decode(answer))
            for number, answer in zip(chosen, answers, strict=True)
        ]

    def _prompt_ids(self, prompt: str, *, is_chat: bool) -> list[int]:
        tokenizer = self._tokenizer
        if is_chat:
            message = [{"role": "user", "content": prompt}]
            ids, _ = tokenizer.encode_dialogue(message, add_generation_prompt=True)
            return ids
        return [*tokenizer.beginning_ids, *tokenizer.encode(prompt)] or [tokenizer.start_id]
