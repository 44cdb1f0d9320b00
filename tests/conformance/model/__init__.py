"""The stateful model test. What it asserts is told in full by pytest, in the rooms beside the test too."""

import pytest

pytest.register_assert_rewrite("tests.conformance.model.lockstep", "tests.conformance.model.steps")
