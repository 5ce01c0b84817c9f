"""A context is copied with changes."""

import attrs
import pytest

from states.token_fulfillment import TokenFulfillmentSettings
from states.token_fulfillment.context import changed, initial_context

CONTEXT = initial_context("run", 3, TokenFulfillmentSettings(), None)


def test_it_is_the_copy_that_attrs_makes() -> None:
    assert changed(CONTEXT, scope_id="s", code=None) == attrs.evolve(CONTEXT, scope_id="s", code=None)
    assert not CONTEXT.scope_id


def test_a_field_with_another_name_is_an_error() -> None:
    with pytest.raises(AssertionError, match="another name"):
        changed(CONTEXT, scop_id="s")
