"""The stateful model test. What it asserts is reported in full by pytest, in the modules beside the test too."""

import pytest

pytest.register_assert_rewrite("tests.conformance.model.lockstep", "tests.conformance.model.steps")
