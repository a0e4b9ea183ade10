"""Plan, start, follow and analyse experiments in production, and simulate designs where the true
lift is known.
"""

from __future__ import annotations

from headwater.cli import (
    experiment_analyse,
    experiment_plan,
    experiment_ramp,
    experiment_shadow,
    experiment_status,
    options,
)
from headwater.cli.command import Actions, Arguments, Positional, Verb, option
from headwater.cli.screen import Screen


def simulate(args: Arguments, screen: Screen) -> None:
    """Run every design in the world, and print what each makes of it."""
    from headwater.experiments.worlds.simulate_world import simulate_world, world_of
    from headwater.terminal.layout import ShownTable

    world = world_of(args.world)
    with screen.working("simulating"):
        simulated = simulate_world(world, args.runs, args.seed)
    rows = [
        (
            result.design,
            f"{result.mean:+.1%}",
            f"{100 * result.bias:+.1f}",
            f"{100 * float(result.lifts.std(ddof=1)):.1f}",
            f"{result.covered:.0%}",
            f"{result.above:.0%}" if simulated.truth > 0 else f"{result.below:.0%}",
            "recovers the truth" if result.recovers else "misleads",
        )
        for result in simulated.designs
    ]
    sign = ">" if simulated.truth > 0 else "<"
    headings = [
        "design",
        "mean lift",
        "bias, points",
        "sd, points",
        "interval holds the truth",
        f"decides {sign} 0",
        "",
    ]
    data = {
        "world": simulated.world,
        "truth": simulated.truth,
        "runs": simulated.runs,
        "designs": [
            {
                "design": result.design,
                "mean": result.mean,
                "bias": result.bias,
                "sd": float(result.lifts.std(ddof=1)),
                "covered": result.covered,
                "above": result.above,
                "below": result.below,
            }
            for result in simulated.designs
        ],
        "skipped": list(simulated.skipped),
    }
    screen.show(
        ShownTable(
            f"{simulated.world}: the true lift is {simulated.truth:+.1%}; {simulated.runs} runs "
            "of each design",
            headings,
            rows,
        ),
        data,
    )
    for skipped in simulated.skipped:
        screen.say(f"not possible here: {skipped}")
    screen.next("headwater", "assess", "interview")


COMMAND = Actions(
    {
        "plan": experiment_plan.PLAN,
        "start": experiment_plan.START,
        "status": experiment_status.STATUS,
        "ramp": experiment_ramp.COMMAND,
        "stop": experiment_status.STOP,
        "analyse": experiment_analyse.COMMAND,
        "shadow": experiment_shadow.COMMAND,
        "simulate": Verb(
            simulate,
            [
                Positional(
                    "world",
                    metavar="WORLD",
                    help=(
                        "shared-supply, adaptive-fraud, recommender-loop, recommender-loop-split, "
                        "hourly-effect, or FILE.py:NAME"
                    ),
                ),
                option(
                    "--runs",
                    metavar="N",
                    type=int,
                    default=100,
                    help="experiments of each design (default: {default})",
                ),
                option(
                    "--seed",
                    metavar="N",
                    type=int,
                    default=0,
                    help="of all randomness (default: {default})",
                ),
                *options.as_json(),
            ],
            help="Simulate every design of an experiment in a world whose true lift is known.",
            summary="show which designs mislead and which recover the truth",
            examples=[
                "headwater experiment simulate shared-supply --runs 200",
                "headwater experiment simulate courier.py:Couriers",
            ],
        ),
    },
    help=__doc__,
)
