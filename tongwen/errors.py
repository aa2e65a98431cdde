"""Errors a user can cause and mend. Everything else is a bug and shows its traceback."""


class TongwenError(Exception):
    """A failure the user can fix.

    Args:
        message: what is wrong, with the offending value and where it came from.
        hint: what to do about it, as a command or a setting where one exists.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # Worker processes send errors back by pickle; keyword-only arguments need help there.
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(kind: type[TongwenError], message: str, hint: str | None) -> TongwenError:
    return kind(message, hint=hint)


class UsageError(TongwenError):
    """The command line is not usable; nothing has been written."""

    exit_code = 2


class RecipeError(TongwenError):
    """The recipe is not usable; nothing has been written."""

    exit_code = 2


class InputError(TongwenError):
    """A file or folder the user gave is missing, empty, damaged or of another kind."""


class DiskFullError(TongwenError):
    """No space is left where an output must go. Finished work is kept."""


class DoesNotFitError(TongwenError):
    """The work needs more memory, disk or time than there is."""


class WorkerDiedError(TongwenError):
    """A worker process was killed again and again on the same task."""
