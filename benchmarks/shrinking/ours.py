"""vitsearch: sizes of each branch by its profile, or by a search, and both repairs."""

from __future__ import annotations

import time
from collections.abc import Iterator

import vitsearch
from benchmarks.shrinking.trial import Candidate, Trial
from vitsearch.shrinking import profile_branches
from vitsearch.shrinking.search import PROFILE_IMAGES, first_images, shrink

PLAIN = "vitsearch, profile, plain repair"
SEQUENTIAL = "vitsearch, profile, sequential repair"
SEARCHED = "vitsearch, search, sequential repair"


def ours(trial: Trial, budgets: tuple[float, ...]) -> Iterator[Candidate]:
    """The profile's architecture for each budget, with both repairs."""
    with trial.step("vitsearch: conversion"):
        network = vitsearch.from_timm(trial.network)
    with trial.step("vitsearch: calibration"):
        calibration = network.calibrate(trial.batches)
    with trial.step("vitsearch: order"):
        network.order(calibration)
    with trial.step("vitsearch: profile"):
        images = first_images(calibration, PROFILE_IMAGES)
        profile = profile_branches(network, calibration, images)
    for budget in budgets:
        architecture = profile.within(budget * trial.macs)
        for method, images_again in ((PLAIN, None), (SEQUENTIAL, trial.batches)):
            began = time.perf_counter()
            made = network.extract(architecture, calibration=calibration, images=images_again)
            seconds = time.perf_counter() - began
            yield Candidate(method=method, budget=budget, network=made, seconds=seconds)


def searched(trial: Trial, budgets: tuple[float, ...]) -> Iterator[Candidate]:
    """The best network of a front that NSGA-II found, without labels, for each budget."""
    network = vitsearch.from_timm(trial.network)
    calibration = network.calibrate(trial.batches)
    network.order(calibration)
    with trial.step("vitsearch: search"):
        elastic = shrink(network, calibration, budgets=budgets, seed=trial.seed)
    for budget in budgets:
        began = time.perf_counter()
        made = elastic.at(macs=budget)
        seconds = time.perf_counter() - began
        yield Candidate(method=SEARCHED, budget=budget, network=made, seconds=seconds)
