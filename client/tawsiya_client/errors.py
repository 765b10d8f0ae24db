"""What a call may raise."""

from collections.abc import Sequence

from tawsiya_client.models import Problem


class TawsiyaError(Exception):
    """The base of all errors of this client."""


class ApiError(TawsiyaError):
    """The service refused the call, so repeating it would not help.

    Attributes:
        status: The HTTP status.
        problem: What the service says about it.
    """

    def __init__(self, status: int, problem: Problem) -> None:
        """Puts the fields that are wrong into the message."""
        fields = "".join(f"; {error.field}: {error.message}" for error in problem.errors)
        super().__init__(f"{status} {problem.title}: {problem.detail}{fields}")
        self.status, self.problem = status, problem


class RequestError(ApiError):
    """The call is wrong: a field (422), the key (401, 403), or there is no such product (404)."""


class ServiceAwayError(TawsiyaError):
    """No usable answer within the time and the attempts of the policy.

    Attributes:
        reasons: What went wrong in each attempt.
    """

    def __init__(self, call: str, reasons: Sequence[str]) -> None:
        """Names the call and its attempts."""
        super().__init__(f"{call}: no answer after {len(reasons)} attempts ({'; '.join(reasons)})")
        self.reasons = tuple(reasons)
