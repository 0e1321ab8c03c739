"""The pages of operators."""

from fastapi import APIRouter

from deploy.web.answers import ConditionalRoute

router = APIRouter(include_in_schema=False, route_class=ConditionalRoute)
