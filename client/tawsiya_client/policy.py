"""How long a call may take, which failures are repeated, and how long to wait before that."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits of one call.

    Attributes:
        seconds: Time for all attempts together; a page should not wait longer for recommendations.
        attempts: Maximum number of attempts.
        first_wait: Longest wait before the second attempt, in seconds; it doubles with each further one.
        longest_wait: Longest wait between two attempts.
        away_seconds: After a call that failed, lists come from the fallback for so long without asking the service.
        fallback_seconds: The kept popular list is fetched again when it is older.
    """

    seconds: float = 1.0
    attempts: int = 3
    first_wait: float = 0.05
    longest_wait: float = 1.0
    away_seconds: float = 2.0
    fallback_seconds: float = 300.0

    def __post_init__(self) -> None:
        """Raises ValueError where a limit makes no sense."""
        if self.seconds <= 0 or self.attempts < 1:
            raise ValueError(
                f"seconds must be positive and attempts at least 1, got {self.seconds} and {self.attempts}"
            )

    def wait(self, attempt: int, retry_after: str | None) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 1).

        A random part of an exponential bound ("full jitter"), so that many clients do not come back at the same moment;
        see M. Brooker, Exponential Backoff and Jitter, 2015. What the service asks for (`Retry-After`) is the least.
        """
        bound = min(self.longest_wait, self.first_wait * 2 ** (attempt - 1))
        # Jitter needs no secure randomness.
        jitter = random.uniform(0, bound)
        return jitter + (float(retry_after) if retry_after and retry_after.isdecimal() else 0.0)


DEFAULT_POLICY = Policy()
