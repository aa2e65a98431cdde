"""Requests that wait, in fair order: clients take turns, each one's requests keep their order."""

from collections import OrderedDict, deque

from tongwen.serve.generation import Generation


class WaitingLine:
    """A queue for each client; the one served last goes to the end of the round."""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[Generation]] = OrderedDict()
        self.prompt_tokens = 0
        """Of all that wait."""

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def append(self, generation: Generation) -> None:
        """Let a request wait at the end of its client's queue."""
        request = generation.request
        self._queues.setdefault(request.client, deque()).append(generation)
        self.prompt_tokens += len(request.prompt_ids)

    def next(self) -> Generation | None:
        """The request whose turn it is; it stays in line."""
        return next(iter(self._queues.values()))[0] if self._queues else None

    def pop(self) -> Generation:
        """Take the request whose turn it is; its client's others wait for another round."""
        client, waiting = self._queues.popitem(last=False)
        generation = waiting.popleft()
        if waiting:
            self._queues[client] = waiting
        self.prompt_tokens -= len(generation.request.prompt_ids)
        return generation

    def remove(self, generation: Generation) -> None:
        """Let a request leave, if it is here."""
        waiting = self._queues.get(generation.request.client)
        if waiting is None or generation not in waiting:
            return
        waiting.remove(generation)
        if not waiting:
            del self._queues[generation.request.client]
        self.prompt_tokens -= len(generation.request.prompt_ids)

    def clear(self) -> list[Generation]:
        """Everything that waited, in the order of its turns."""
        found = []
        while self._queues:
            found.append(self.pop())
        return found
