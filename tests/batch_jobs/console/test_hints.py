"""What follows an error that the operating system words."""

import errno
import os

import pytest

from batch_jobs.console.hints import error_text, hint

FULL = os.strerror(errno.ENOSPC)


@pytest.mark.parametrize(
    ("error", "text", "next_step"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/srv/s/x"),
            "/srv/s/x: Permission denied",
            "ls -ld /srv/s`",
        ),
        (OSError(errno.ENOSPC, FULL, "/srv/x"), "/srv/x: No space left on device", "`tawsiya doctor --clean`"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), "/x: Read-only file system", "--set data_dir="),
    ],
)
def test_errors_of_the_system_say_what_to_do(error: Exception, text: str, next_step: str) -> None:
    assert error_text(error) == text
    assert next_step in (hint(error) or "")


@pytest.mark.parametrize("error", [ValueError("a: wrong; do b"), OSError("a: wrong; do b")])
def test_messages_of_ours_say_it_themselves(error: Exception) -> None:
    assert (error_text(error), hint(error)) == ("a: wrong; do b", None)
