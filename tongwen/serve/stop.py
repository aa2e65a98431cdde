"""Stop strings: found across tokens, and never shown, not even in part."""

from collections.abc import Sequence


class StopText:
    """Lets text through until a stop string begins; holds back what may become one."""

    def __init__(self, stops: Sequence[str]) -> None:
        assert all(stops), "an empty stop string stops everything"
        self._stops = tuple(stops)
        self._held = ""
        self.found: str | None = None
        """The stop string that was reached."""

    def push(self, text: str) -> tuple[str, bool]:
        """The text that is now safe to show, and whether a stop string has been reached.

        What stands before the stop string that is complete first is shown, the string and all
        after it is not. The result does not depend on how the text is cut into pushes.
        """
        text = self._held + text
        places = [(text.find(stop), stop) for stop in self._stops]
        found = [(start + len(stop), start, stop) for start, stop in places if start >= 0]
        if found:
            self._held = ""
            _, start, self.found = min(found)
            return text[:start], True
        held = self._possible_start(text)
        self._held = text[len(text) - held :]
        return text[: len(text) - held], False

    def flush(self) -> str:
        """What was held back and turned out to be plain text."""
        text, self._held = self._held, ""
        return text

    def _possible_start(self, text: str) -> int:
        """Length of the longest end of `text` with which a stop string begins."""
        longest = max((len(stop) - 1 for stop in self._stops), default=0)
        for length in range(min(longest, len(text)), 0, -1):
            if text.endswith(tuple(s[:length] for s in self._stops if len(s) > length)):
                return length
        return 0
