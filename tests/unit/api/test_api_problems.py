from __future__ import annotations

import json

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from delivery.api.http.problems import INTERNAL_PROBLEM, Problem, render_problem, to_problem
from delivery.domain import errors


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.Invalid("url", "is bad"), 422),
        (errors.MalformedId("x", "ep"), 404),
        (errors.NotFound("endpoint", "ep_x"), 404),
        (errors.NotAuthenticated(), 401),
        (errors.NotAllowed("no"), 403),
        (errors.Conflict("no"), 409),
        (errors.TooLarge("The body", size=2, limit=1), 413),
        (errors.Unavailable("down"), 503),
        (HTTPException(405), 405),
        (HTTPException(404), 404),
        (errors.Misconfigured("WAYBILL_X"), 500),
        (errors.SecretUnreadable("abcd"), 500),
        (ValueError("secret"), 500),
    ],
)
def test_every_error_has_its_status(error: Exception, status: int):
    assert to_problem(error).status == status


@pytest.mark.parametrize(
    "error", [errors.Misconfigured("hush"), errors.SecretUnreadable("hush"), KeyError("hush")]
)
def test_internal_errors_are_not_revealed(error: Exception):
    assert to_problem(error) is INTERNAL_PROBLEM


def test_the_database_address_is_not_revealed():
    assert "10.0.0.7" not in to_problem(errors.Unavailable("no route to 10.0.0.7")).detail


def test_a_validation_error_names_the_field_without_the_input():
    fault = {
        "type": "string_type",
        "loc": ("body", "headers", "X-A"),
        "msg": "Input should be a string",
        "input": "hush",
    }
    problem = to_problem(RequestValidationError([fault]))
    assert problem.errors == [{"field": "headers.X-A", "why": "Input should be a string"}]
    assert "hush" not in str(problem)


@pytest.mark.parametrize("detail", ["ä 🎈", "\ud800", "\0", '"'])
def test_any_text_can_be_rendered_as_a_problem(detail: str):
    response = render_problem(Problem(422, detail), {"type": "http"})
    assert response.media_type == "application/problem+json"
    assert json.loads(bytes(response.body))["detail"] == detail


def test_a_status_without_its_own_title_has_the_standard_title():
    problem = json.loads(bytes(render_problem(Problem(418, "no coffee"), {"type": "http"}).body))
    assert problem["title"] == "I'm a Teapot"
    assert problem["type"] == "/problems/http"
