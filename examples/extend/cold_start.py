"""A measured metric: milliseconds until a network that has just been made has answered once."""

from __future__ import annotations

from time import perf_counter

from vitsearch.costs import Metric, Subject


def cold_start_ms(subject: Subject) -> float:
    """Make the network and run it once, as `constraint.measure` says."""
    started = perf_counter()
    subject.make_run()().cpu()  # which waits for a GPU, too
    return 1e3 * (perf_counter() - started)


COLD_START = Metric(
    name="cold_start_ms", kind="measured", label="cold start", unit="ms", measure=cold_start_ms
)
