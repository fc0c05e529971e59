"""The ways a user can be wrong, a sentence each.

Every error of ours says what is wrong, where (file, row, column, key) and what to do next.
The CLI prints the sentence and leaves with `exit_status`; a traceback is shown only with `--debug`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class LeadlineError(Exception):
    """The work failed."""

    exit_status = 1


class InputError(LeadlineError):
    """The arguments or the data are wrong; nothing was written."""

    exit_status = 2


class Interrupted(LeadlineError):
    """Asked to leave (Ctrl-C, SIGTERM, SIGUSR1); a checkpoint was written and the same command goes on."""

    exit_status = 130


class MissingExtra(LeadlineError):
    """A part of leadline needs a package that is not installed."""

    exit_status = 2

    def __init__(self, what: str, extra: str):
        super().__init__(f"{what} needs the extra `{extra}`: pip install 'leadline[{extra}]'")


def nearest(word: str, known: Iterable[str]) -> str:
    """The question whether the known word closest to `word` was meant, or nothing where none is close."""
    close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f" Did you mean `{close[0]}`?" if close else ""


def all_at_once(headline: str, problems: Sequence[str], show: int = 10) -> InputError:
    """One error for all problems of one file or recipe: a headline and a line each, at most `show` of them."""
    lines = [f"  - {problem}" for problem in problems[:show]]
    if len(problems) > show:
        lines.append(f"  - and {len(problems) - show} more")
    return InputError("\n".join([headline, *lines]))


def cannot_write(path: object, error: Exception) -> LeadlineError:
    """A full disk, a directory without write permission: what is there already stays as it is."""
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return LeadlineError(
        f"{path}: cannot be written ({reason}). Everything written before is whole; make room or give permission, and "
        "run the same command again"
    )


def no_locks(path: object, error: OSError) -> LeadlineError:
    """A file system without locks: two processes could not be kept apart."""
    reason = error.strerror or error
    return LeadlineError(
        f"{path}: the file system there has no locks ({reason}); choose a folder on another one (--root)"
    )
