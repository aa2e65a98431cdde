"""Requests that wait, in fair order: whose client has been given the fewest tokens is next.

After Sheng et al. 2024, "Fairness in Serving Large Language Models" (arXiv 2401.00588), with a read
and a written token counted alike.
"""

from collections import deque

from tongwen.serve.generation import Generation

_MOST_CLIENTS = 10_000  # names are the clients' own: without it they would fill the memory


class WaitingLine:
    """A queue for each client, whose requests keep their order."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Generation]] = {}
        self._tokens: dict[str, int] = {}
        """That each client was given. One that comes back begins where the others are: it saves up
        nothing while it is away."""
        self._length = 0
        self.prompt_tokens = 0
        """Of all that wait."""

    def __len__(self) -> int:
        return self._length

    def has_place(self, client: str, tokens: int, *, requests: int, prompt_tokens: int) -> bool:
        """Whether one more request may wait: the line has room, or its client less than its share.

        With nothing in line a client always may, so the line can grow to twice its length.

        Args:
            client: whose it is.
            tokens: of its prompt.
            requests: that the line has room for.
            prompt_tokens: the same.
        """
        own = self._queues.get(client)
        if own is None:
            return True
        if len(self) < requests and self.prompt_tokens + tokens <= prompt_tokens:
            return True
        shares = len(self._queues)
        own_tokens = sum(len(generation.request.prompt_ids) for generation in own)
        return len(own) < requests // shares and own_tokens + tokens <= prompt_tokens // shares

    def append(self, generation: Generation) -> None:
        """Let a request wait at the end of its client's queue."""
        client = generation.request.client
        if client not in self._queues:
            least = min((self._tokens[other] for other in self._queues), default=0)
            self._tokens[client] = max(self._tokens.get(client, 0), least)
            self._queues[client] = deque()
        self._queues[client].append(generation)
        self._length += 1
        self.prompt_tokens += len(generation.request.prompt_ids)

    def next(self) -> Generation | None:
        """The request whose turn it is; it stays in line."""
        return self._queues[self._client()][0] if self._queues else None

    def pop(self) -> Generation:
        """Take the request whose turn it is; its client pays for its prompt."""
        client = self._client()
        generation = self._queues[client][0]
        self._take(generation)
        self.charge(client, len(generation.request.prompt_ids))
        return generation

    def charge(self, client: str, tokens: int) -> None:
        """Count tokens that a client was given."""
        if len(self._tokens) >= _MOST_CLIENTS:
            self._tokens = {client: self._tokens[client] for client in self._queues}
        self._tokens[client] = self._tokens.get(client, 0) + tokens

    def remove(self, generation: Generation) -> None:
        """Let a request leave, if it is here."""
        if generation in self._queues.get(generation.request.client, ()):
            self._take(generation)

    def clear(self) -> list[Generation]:
        """Everything that waited, in the order of its turns."""
        found = []
        while self._queues:
            found.append(self.pop())
        return found

    def _client(self) -> str:
        """Whose turn it is; of equals who came first."""
        return min(self._queues, key=self._tokens.__getitem__)

    def _take(self, generation: Generation) -> None:
        client = generation.request.client
        waiting = self._queues[client]
        waiting.remove(generation)
        if not waiting:
            del self._queues[client]
        self._length -= 1
        self.prompt_tokens -= len(generation.request.prompt_ids)
