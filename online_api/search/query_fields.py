"""What an answer says beside its products: how they match the query, and the facets."""

from collections.abc import Callable
from dataclasses import replace

from feature_repo.common.search_log import SearchOutcome
from online_api.lists.list_request import ListResult, Payload, ResolvedRequest
from online_api.lists.live_catalogue import Selection
from online_api.lists.live_release import LiveRelease
from online_api.schemas.requests import Filters
from online_api.search.facets import facets_of


def query_fields(
    live: LiveRelease,
    resolved: ResolvedRequest,
    selection: Selection,
    select: Callable[[LiveRelease, ResolvedRequest], Selection],
) -> Payload:
    """The fields `search` and `facets` of a RecommendationResponse.

    Args:
        live: The release.
        resolved: The request.
        selection: The products that its conditions allow.
        select: Finds the products that the conditions of another request allow.
    """
    return {"search": _search_facts(resolved, selection), "facets": _facets(live, resolved, select)}


def search_outcome(result: ListResult) -> SearchOutcome:
    """What came of a search, for the metrics and the search log."""
    facts, resolved = result.payload["search"], result.resolved
    if facts is None or resolved is None or resolved.matches is None:  # it took too long
        return "searched"
    if facts["no_match"]:
        return "no_match"
    if not facts["matching"]:
        return "filtered"
    return "weak" if resolved.matches.is_weak else "searched"


def _search_facts(resolved: ResolvedRequest, selection: Selection) -> Payload | None:
    matches = resolved.matches
    if matches is None:
        return None
    return {
        "matching": len(selection.among(matches.matching.nonzero()[0])),
        "no_match": matches.is_empty,
        "did_you_mean": matches.did_you_mean(selection.allowed_N),
    }


def _facets(
    live: LiveRelease, resolved: ResolvedRequest, select: Callable[[LiveRelease, ResolvedRequest], Selection]
) -> Payload | None:
    request = resolved.request
    if not request.facets:
        return None

    def selected(filters: Filters) -> Selection:
        return select(live, replace(resolved, request=replace(request, filters=filters)))

    matching_N = None if resolved.matches is None else resolved.matches.matching
    return facets_of(live.catalogue, request.filters, matching_N, lambda filters: selected(filters).allowed_N)
