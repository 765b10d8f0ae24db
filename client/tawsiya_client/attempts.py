"""One call in several attempts, without sending anything: both clients follow these steps."""

import time

import httpx
from pydantic import ValidationError

from tawsiya_client.calls import AnswerT, Call
from tawsiya_client.errors import ApiError, ServiceAwayError
from tawsiya_client.models import Problem
from tawsiya_client.policy import Policy


class UnavailableError(Exception):
    """An attempt got an answer that is worth another attempt."""

    def __init__(self, reason: str, retry_after: str | None = None) -> None:
        """Says why, and what the service asks for."""
        super().__init__(reason)
        self.retry_after = retry_after


class Attempts:
    """The attempts of one call and its deadline."""

    def __init__(self, call: str, policy: Policy) -> None:
        """Starts the clock."""
        self._call, self._policy = call, policy
        self._deadline = time.monotonic() + policy.seconds
        self._reasons: list[str] = []

    @property
    def seconds_left(self) -> float:
        """Until the deadline; a little is always left, for the first attempt."""
        return max(self._deadline - time.monotonic(), 0.001)

    def seconds_to_wait(self, failure: httpx.TransportError | UnavailableError) -> float:
        """Notes a failed attempt; seconds to wait before the next one.

        Raises:
            ServiceAwayError: No attempt is left, or the deadline comes before the next one.
        """
        self._reasons.append(str(failure) or type(failure).__name__)
        retry_after = failure.retry_after if isinstance(failure, UnavailableError) else None
        wait = self._policy.wait(len(self._reasons), retry_after)
        if len(self._reasons) >= self._policy.attempts or wait >= self.seconds_left:
            raise ServiceAwayError(self._call, self._reasons) from failure
        return wait


def read(call: Call[AnswerT], response: httpx.Response) -> AnswerT:
    """The answer to a call.

    Raises:
        UnavailableError: The service is overloaded, restarts, or something else answered.
        ApiError: The call is wrong.
    """
    status = response.status_code
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise UnavailableError(f"status {status}", response.headers.get("Retry-After"))
    try:
        if response.is_success:
            return call.answer.model_validate_json(response.content)
        problem = Problem.model_validate_json(response.content)
    except ValidationError as error:
        # A proxy's page of its own, or a service that this client does not know.
        if response.is_success:
            raise UnavailableError(f"an answer that is no {call.answer.__name__}: {error}") from None
        problem = Problem(title=response.reason_phrase, status=status, detail=response.text[:200])
    raise ApiError(status, problem)
