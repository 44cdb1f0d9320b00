"""The errors: what they are besides, what they say, and that they survive a trip between processes."""

import pickle

import pytest

from durable_objects import errors
from durable_objects.entries.serializer import MAX_LEVELS, MAX_VALUE_BYTES
from durable_objects.validation import MAX_KEY_BYTES, MAX_NAME_CHARACTERS

BASES: dict[type[Exception], tuple[type[Exception], ...]] = {
    errors.DurableObjectError: (Exception,),
    errors.InvalidInput: (errors.DurableObjectError, ValueError, TypeError),
    errors.InvalidName: (errors.InvalidInput,),
    errors.InvalidKey: (errors.InvalidInput,),
    errors.InvalidValue: (errors.InvalidInput,),
    errors.InvalidAlarmTime: (errors.InvalidInput,),
    errors.InvalidSchedule: (errors.InvalidInput,),
    errors.AlarmHandlerMissing: (errors.DurableObjectError, TypeError),
    errors.AlarmTimeLimitExceeded: (errors.DurableObjectError, TimeoutError),
    errors.ClassUnknown: (errors.DurableObjectError, LookupError),
    errors.ObjectBusy: (errors.DurableObjectError,),
    errors.CannotUnlock: (errors.DurableObjectError,),
    errors.IsolationNotSupported: (errors.DurableObjectError,),
    errors.RunSuperseded: (errors.DurableObjectError,),
}
every_error = pytest.mark.parametrize("error", BASES, ids=lambda error: error.__name__)


@every_error
def test_error_is_what_the_contract_says(error: type[Exception]) -> None:
    """Each error has exactly the bases of the contract, so that users' own `except` clauses catch it."""
    assert error.__bases__ == BASES[error]


@every_error
def test_error_without_a_message_says_its_docstring(error: type[Exception]) -> None:
    """An error raised bare still says what happened and what to do, on one line."""
    assert error.__doc__
    assert str(error()) == " ".join(error.__doc__.split())


@every_error
@pytest.mark.parametrize("args", [(), ("the cart is busy",)], ids=["bare", "message"])
def test_error_survives_pickling(error: type[Exception], args: tuple[str, ...]) -> None:
    """An error keeps its class and message on the way from a worker's process."""
    raised = error(*args)
    copy = pickle.loads(pickle.dumps(raised))  # noqa: S301  pickled on this very line
    assert (type(copy), str(copy)) == (error, str(raised))
    assert not args or str(copy) == args[0]


def test_allowed_names_the_limits_that_are_checked() -> None:
    """What an error says is allowed is what the checks allow."""
    assert f"{MAX_NAME_CHARACTERS:,} characters" in errors.InvalidName.allowed
    assert f"{MAX_KEY_BYTES:,} bytes" in errors.InvalidKey.allowed
    assert f"{MAX_VALUE_BYTES:,} bytes" in errors.InvalidValue.allowed
    assert f"{MAX_LEVELS} levels" in errors.InvalidValue.allowed
