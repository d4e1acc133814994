"""How many steps the state machines made, told at the end of a run."""

from __future__ import annotations

import pytest
from store_rules import STEPS


@pytest.fixture(autouse=True)
def counted_steps(record_property):
    """A property of each test: it comes back from the processes of pytest-xdist too."""
    STEPS.clear()
    yield
    for machine, steps in STEPS.items():
        record_property(machine, steps)


def pytest_terminal_summary(terminalreporter):
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "teardown":
                for machine, steps in report.user_properties:
                    terminalreporter.write_line(f"{machine}: {steps} steps")
