"""The sentences of docs/validation.md."""

BEFORE = """# Validation

<!-- Written by `python -m bench.validation --write`; edit bench/validation/page_text.py instead. -->

A backtest gives verdicts and its audit gives findings; an experiment gives a lift and checks its own health. Their accuracy can be measured where the
truth is known: in simulated worlds.

```sh
python -m bench.validation --write                    # all of it, by two processes; goes on where it was interrupted
python -m bench.validation --only leaks --runs 10     # one group, fewer runs
make experiments-validate                             # the sections on experiments alone, minutes of one core
```

Every run simulates a new world with its own seed."""

TEXTS = {
    "coverage": """## Coverage of 95 % intervals

Predictions of three levels are drawn, and judged without training. Requests of a day share their rate of positives and how well each level
sees, as stated for each world (`bench/validation/predictions.py`). Two of the levels are equally good. The true lift is that over a million requests or more.
Coverage counts the intervals of both comparisons; the goal is 95 % ± 1.5 over the worlds with 20 days or more.""",
    "training": """## Intervals that include training

By default each level is trained four times more, on random halves of the training days, with the same seed and the same half at every level. The
interval is that of the training procedure: of its lift in another period, after training in another period. Each run simulates a new
training period and a new test period, so the truth is the mean lift over all runs of a world (`bench/validation/readings.py`, 48 days). The
page's second interval, that of the fitted models only, is about other test days alone; the first is never narrower. How often each covers
the mean lift shows what the refits are for. Intervals are wider than they must be where training days are few: models that are trained on half of them
vary more than models of all. Half widths are medians, and the standard deviation is that of the lift between runs: an interval needs
about 2 of them.""",
    "verdicts": """## Verdicts on trained models

Six machines have states, each a stationary first-order Gaussian process that is read every ten minutes; the outcome of a request depends on the state.
A reading that is `h` hours old has the correlation `2 ** (-h / half_life)` with the current state
(`bench.validation.planted_effects`). 48 days, the first 24 for training, unless the name says otherwise; the estimator is a logistic
regression, trained five times as by default. The verdict is that of the instant level over the daily one, of the interval of the training procedure. The
mean lift is that over all runs of the world: an interval that covers the training procedure contains it in 95 % of the runs.

The right recommendation is the stalest of three levels (daily, hourly, instant) whose mean AUC over all runs of the world is at most 0.005 below
that of the freshest. With fewer than eight days of test a page names none.""",
    "leaks": """## Leaks

Twenty machines, 200 requests a day for 40 days; features are the mean and last severity of a machine's earlier outcomes
(`bench/validation/departures.py`). Each leak is one mistake in that definition or in its data. What it adds is the AUC of the leaking model minus that of
the honest one on the same rows. Found means: refused before training, a LEAK of the audit, a SUSPECT, or levels that are called not measurable. A LEAK
withholds the verdict; a SUSPECT is a condition that the verdict begins with.
Two kinds are known to be invisible: late request fields where the labels' table has the binary label alone, and outcomes that are known later than
stated where no table has another time. They are shown and not counted.""",
    "honest": """## False alarms

Honest worlds with drawn properties: 5 to 300 machines, half-lives from half an hour to three weeks, jobs from minutes to days, timestamps on a grid,
and one of: daily totals dated at the day's end; declared coarse timestamps; warnings seconds before
the request; an informative dimension from before the period; a source over the labels' own table with the right `known_at`; a request field that knows
the state, as an expert does; a request field that decides most of the outcome. A false alarm is a LEAK, which
withholds the verdict, or a SUSPECT, which asks.""",
    "attribution": """## Attribution

Of six views one decays within hours, a different one in each run; the others have a half-life of months or carry no information. The plan is right if
it contains only that view.""",
    "equal": """## Two equal levels

Two equally good levels, which differ in a view of noise alone, of small boosted trees that draw at random and are trained five times as by default:
every claim of a lift or a harm is wrong. The nominal rate is 5 % for both signs together, in the headline metric, which alone is judged.
`scripts/equal_levels.py --days 0` shows the intervals without refits. Levels with equal features differ by exactly 0 in every refit.""",
    "cost": """## What the audit costs

Processor seconds of all threads, of a backtest of the whole data with each level trained once (`bench/validation/audit_cost.py`); refits make a
backtest longer and the audit no longer. Kernels are loaded before. What the audit adds is its time over that of the rest. A LEAK or SUSPECT would
be a false alarm.""",
    "estimators": """## Experiments: one look

Half of the experiments have no effect: every rejection at 5 % is false. The others have a known one, which the 95 % interval must cover: at least 93.5 %
of them. Units are 2,000 an arm; effects are +10 % unless the data are of regions (+2 %), lists or actions (`bench/validation/experiment_estimators.py`).
The goal of false positives is 5 % and three standard errors to both sides; false positives above 0 should be half of them. The research column is
the power of the same data in an independent simulation; the goal is within 3 points.""",
    "looks": """## Experiments: twenty looks

An experiment stops at the first look whose interval excludes 0 (`bench/validation/experiment_looks.py`): 5,000 units an arm at the last one, an effect of
+20 % on a proportion of 5 % or of +8 % on a lognormal mean. Uneven looks are at times drawn for each seed. O'Brien-Fleming bounds by Lan and DeMets spend
5 %; a confidence sequence may be looked at as often as one likes, and so spends less at twenty looks. Units are those used when the experiment
stops.""",
    "worlds": """## Experiments: worlds with a known truth

The truth is the lift of all treated over none (`bench/validation/experiment_worlds`). A world that reacts shows a backtest another lift than production has.
The goal is the coverage of the designs that the world allows. The research column is the mean lift of an independent simulation of the
same rules.""",
    "faults": """## Experiments: planted faults

Each is planted in an experiment of 4,000 units, 20 regions or 40 clusters (`bench/validation/experiment_health.py`), and the check that must flag it is asked
at the last look. The A/A test on history reads 600 units before the start. The goal is at least 95 of 100 runs.""",
    "sound": """## Experiments: false alarms of the health checks

Honest experiments, of 2,000 units, 20 regions or 40 clusters, are looked at on each of twenty days, after an A/A test on the history of 600 units. A check that
stops the start, or blocks the verdict at any look, is a false alarm. The goal is at most 1 % of the experiments, for all checks together.""",
    "freshness": """## Lift by freshness over time

Twenty views and 10,000 requests a day (`bench/validation/experiment_decay.py`): the statistics of `headwater watch --lift` on paired differences of the
AUC of real rows. A decay begins after 42 days and is of twice break-even: a view's signal stops to matter, and the model stays, or is
trained again the day after. It shall be reported within 14 days in 95 of 100 runs. In a year at break-even each view's mean lift is exactly
break-even, so every alarm is false; at most 5 % of project-years may have one.""",
}

AFTER = """## Limits

The worlds are small and their models simple. Verdicts have their nominal error rates under the assumptions: similar days. No world has
a season or a shock that its test period does not contain. The leaks are those that we thought of."""
