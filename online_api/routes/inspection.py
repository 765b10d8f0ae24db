"""Inspection: what lists, products and searches are made from, for ML engineers. The page is inspector_page.py."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Response

from feature_repo.access.scope import Scope
from online_api.inspection.second_release import UnknownReleaseError
from online_api.lists.list_request import NO_TEXT_ENCODER, ListRequest
from online_api.protection.access import needs
from online_api.routes.dependencies import READ_PROBLEMS, Services, ServicesDep, json_response, on_text_thread, problems
from online_api.schemas.fields import Identifier, ListLength
from online_api.schemas.inspection import (
    InspectedBuyer,
    InspectedMap,
    InspectedProduct,
    InspectedSearch,
    ReleaseComparison,
)
from online_api.schemas.requests import ComparisonParameters, InspectionParameters, SearchText

INSPECTION_PROBLEMS = READ_PROBLEMS | problems(404)

router = APIRouter(prefix="/v1/inspect", tags=["inspection"], dependencies=[Depends(needs(Scope.ADMIN))])
# All of them wait for the one thread of the inspections. The threads in which FastAPI runs other routes are needed for
# events, and the event loop for lists.


@router.get(
    "/buyers/{buyer_id:path}/compare", responses=INSPECTION_PROBLEMS | problems(409), response_model=ReleaseComparison
)
async def compare_buyer(
    buyer_id: Identifier, parameters: Annotated[ComparisonParameters, Query()], services: ServicesDep
) -> Response:
    """The buyer's list of the live release and of another one, which is loaded for it and never goes live."""
    return await _compared(services, _buyer_request(buyer_id, parameters), parameters.release)


@router.get(
    "/products/{product_id:path}/compare",
    responses=INSPECTION_PROBLEMS | problems(409),
    response_model=ReleaseComparison,
)
async def compare_product(
    product_id: Identifier, parameters: Annotated[ComparisonParameters, Query()], services: ServicesDep
) -> Response:
    """The products similar to this one in the live release and in another one."""
    request = ListRequest(k=parameters.k, similar_to=product_id, filters=parameters.filters(), rules=parameters.rules)
    return await _compared(services, request, parameters.release)


@router.get("/buyers/{buyer_id:path}", responses=INSPECTION_PROBLEMS, response_model=InspectedBuyer)
async def inspect_buyer(
    buyer_id: Identifier, parameters: Annotated[InspectionParameters, Query()], services: ServicesDep
) -> Response:
    """The buyer's stored events with their attention, and the list that the live release makes from them."""
    inspections = services.inspections
    return json_response(await inspections.run(inspections.inspector.buyer, _buyer_request(buyer_id, parameters)))


@router.get("/products/{product_id:path}", responses=INSPECTION_PROBLEMS, response_model=InspectedProduct)
async def inspect_product(product_id: Identifier, services: ServicesDep, k: ListLength = 10) -> Response:
    """A product's values and popularity, what its vector rests on, and the K nearest products."""
    inspections = services.inspections
    payload = await inspections.run(inspections.inspector.product, product_id, k)
    if payload is None:
        raise HTTPException(404, "the live release does not know this product")
    return json_response(payload)


@router.get("/search", responses=READ_PROBLEMS, response_model=InspectedSearch)
async def inspect_search(q: SearchText, services: ServicesDep, k: ListLength = 10) -> Response:
    """How a query is read and compared, and the parts of the scores of the best products."""
    service, inspections = services.runtime.service, services.inspections
    request = await on_text_thread(services, service.search_request, q)
    if request is None:  # encoding took too long
        request = ListRequest(query=q, degraded=NO_TEXT_ENCODER)
    return json_response(await inspections.run(inspections.inspector.search, replace(request, k=k)))


@router.get("/map", responses=problems(401, 403, 404, 429, 503), response_model=InspectedMap)
async def inspect_map(services: ServicesDep) -> Response:
    """A sample of the products of the live release in two dimensions."""
    inspections = services.inspections
    payload = await inspections.run(inspections.inspector.map)
    if payload is None:
        raise HTTPException(404, "the live release has no map: it was made by an older version; run `tawsiya refresh`")
    return json_response(payload)


def _buyer_request(buyer_id: str, parameters: InspectionParameters) -> ListRequest:
    return ListRequest(
        k=parameters.k,
        buyer_id=buyer_id,
        filters=parameters.filters(),
        new_only=parameters.new_only,
        rules=parameters.rules,
    )


async def _compared(services: Services, request: ListRequest, release: str) -> Response:
    inspections = services.inspections
    try:
        payload = await inspections.run(inspections.inspector.compare, request, release)
    except UnknownReleaseError as error:
        raise HTTPException(404, str(error)) from None
    return json_response(payload)
