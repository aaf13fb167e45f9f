from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

import pytest

from app import errors
from app.errors import (
    BadInput,
    BundleMalformed,
    BundleOutOfForm,
    BundleTooLarge,
    CandlesGone,
    ChainError,
    ForecastStale,
    Misconfigured,
    NotNow,
    OracleError,
    ProofNotReady,
    ProvingFailed,
    SimulationReverted,
    StoreUnavailable,
    UnknownFeed,
    UnknownModel,
    UnknownPrediction,
    VenueUnavailable,
    WindowIncomplete,
)


def descendants(root: type[OracleError]) -> Iterator[type[OracleError]]:
    for child in root.__subclasses__():
        yield child
        yield from descendants(child)


EVERY_ERROR = [error for error in descendants(OracleError) if error.__module__ == errors.__name__]


@pytest.mark.parametrize(
    ("error", "slug"),
    [(OracleError, "oracle-error"), (VenueUnavailable, "venue-unavailable"), (NotNow, "not-now")],
)
def test_slug__is_the_class_name_in_kebab_case(error: type[OracleError], slug: str) -> None:
    assert error.slug() == slug


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OracleError, 500),
        (BadInput, 400),
        (UnknownFeed, 404),
        (UnknownPrediction, 404),
        (UnknownModel, 404),
        (BundleMalformed, 422),
        (BundleOutOfForm, 422),
        (BundleTooLarge, 413),
        (NotNow, 503),
        (WindowIncomplete, 503),
        (ForecastStale, 503),
        (ProofNotReady, 409),
        (CandlesGone, 410),
        (ProvingFailed, 500),
        (ChainError, 502),
        (SimulationReverted, 502),
        (Misconfigured, 500),
        (StoreUnavailable, 503),
    ],
)
def test_status__of_each_branch__is_what_http_answers(error: type[OracleError], status: int) -> None:
    assert error.status == HTTPStatus(status)


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: error.__name__)
def test_message__without_detail__is_the_first_line_of_the_docstring(error: type[OracleError]) -> None:
    assert error.__doc__ is not None
    assert str(error()) == error.__doc__.strip().splitlines()[0]


def test_message__with_detail__is_the_detail() -> None:
    assert str(VenueUnavailable("binance sleeps")) == "binance sleeps"


def test_retry_after__not_now__is_a_minute() -> None:
    assert VenueUnavailable().retry_after_s == 60


def test_retry_after__said_by_the_raiser__is_kept_on_this_error_alone() -> None:
    assert (VenueUnavailable(retry_after_s=7).retry_after_s, VenueUnavailable().retry_after_s) == (7, 60)


def test_retry_after__something_that_never_comes_back__is_not_given() -> None:
    assert CandlesGone().retry_after_s is None


def test_tree__at_the_top_of_the_module__names_every_error() -> None:
    assert errors.__doc__ is not None
    assert {error.__name__ for error in EVERY_ERROR} - set(errors.__doc__.split()) == set()
