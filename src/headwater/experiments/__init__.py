"""Experiments in production: their arms and kinds, how they are planned and run, and what they
found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.lazy_names import lazy_names

if TYPE_CHECKING:
    from headwater.definitions.experiment import ABTest as ABTest
    from headwater.definitions.experiment import Arm as Arm
    from headwater.definitions.experiment import ClusterTest as ClusterTest
    from headwater.definitions.experiment import ExperimentMetric as ExperimentMetric
    from headwater.definitions.experiment import ExperimentPlan as ExperimentPlan
    from headwater.definitions.experiment import Interleaving as Interleaving
    from headwater.definitions.experiment import Probe as Probe
    from headwater.definitions.experiment import Shadow as Shadow
    from headwater.definitions.experiment import Switchback as Switchback
    from headwater.definitions.experiment import probe as probe
    from headwater.experiments.analyse_experiment import analyse as analyse
    from headwater.experiments.experiment_analysis import ExperimentAnalysis as ExperimentAnalysis
    from headwater.experiments.experiment_lifecycle import experiment_status as experiment_status
    from headwater.experiments.experiment_lifecycle import start_experiment as start_experiment
    from headwater.experiments.experiment_lifecycle import stop_experiment as stop_experiment
    from headwater.experiments.experiment_money import ExperimentEvidence as ExperimentEvidence
    from headwater.experiments.experiment_planning import ExperimentPlaces as ExperimentPlaces
    from headwater.experiments.experiment_planning import plan_experiment as plan_experiment
    from headwater.experiments.experiment_ramp import ramp as ramp
    from headwater.experiments.level_comparison import level_lift as level_lift
    from headwater.experiments.monitored_rows import LiftOptions as LiftOptions
    from headwater.experiments.replayed_day import DayReplay as DayReplay
    from headwater.experiments.replayed_day import ReplayOptions as ReplayOptions
    from headwater.experiments.replayed_day import replay_day as replay_day
    from headwater.experiments.shadow_analysis import ShadowAnalysis as ShadowAnalysis
    from headwater.experiments.shadow_analysis import shadow as shadow
    from headwater.training.arm_log import ArmLog as ArmLog

_HOMES = {
    "headwater.definitions.experiment": (
        "Arm ExperimentMetric ExperimentPlan ABTest ClusterTest Interleaving Probe Shadow "
        "Switchback probe"
    ),
    "headwater.experiments.analyse_experiment": "analyse",
    "headwater.experiments.experiment_analysis": "ExperimentAnalysis",
    "headwater.experiments.experiment_lifecycle": (
        "experiment_status start_experiment stop_experiment"
    ),
    "headwater.experiments.experiment_money": "ExperimentEvidence",
    "headwater.experiments.experiment_planning": "ExperimentPlaces plan_experiment",
    "headwater.experiments.experiment_ramp": "ramp",
    "headwater.experiments.level_comparison": "level_lift",
    "headwater.experiments.monitored_rows": "LiftOptions",
    "headwater.experiments.replayed_day": "DayReplay ReplayOptions replay_day",
    "headwater.experiments.shadow_analysis": "ShadowAnalysis shadow",
    "headwater.training.arm_log": "ArmLog",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
