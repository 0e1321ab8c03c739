"""The API of operators."""

from fastapi import APIRouter

from deploy.web.answers import ConditionalRoute

router = APIRouter(prefix="/api/v1", route_class=ConditionalRoute)
