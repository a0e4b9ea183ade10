"""Every threshold of the audit, with its reason. They were fixed before the worlds that measure
detection were generated.
"""

from __future__ import annotations

SAMPLE = 20_000
"""Requests that a check looks at: a share of 1 % then has a standard error of 0.07 %."""

LEAK_SHARE = 0.01
"""Share of requests from which a leak withholds the verdict: one of fewer requests hardly moves a
metric.
"""

LEAK_REQUESTS = 50
"""Requests of each outcome that a leak takes: with fewer, values agree with outcomes by chance."""

LEAK_ROWS = 10
"""Rows of each outcome that must be looked at, where they stand for more requests."""

EQUAL = 0.99
"""Share of rows of each outcome in which a value says it, for the value to be the outcome."""

RARE = 1_000
"""Rows of each outcome that are looked at, where there are as many; 1 % of them are `LEAK_ROWS`."""

FEWEST = 100
"""Rows that a measure of association needs: below, an AUC of 0.9 is not rare by chance."""

SAME_TABLE = 0.9
"""Share of the labels' rows that must be in a source's table, equal in all shared columns, for it
to be the labels' own table.
"""

ALONE = 0.95
"""An AUC or rank correlation that honest features hardly reach by themselves: the strongest of the
examples reaches 0.93.
"""

LIKE_AN_OUTCOME = 0.99
"""AUC or rank correlation of a request field that is the outcome itself; honest fields that decide
most of it reach 0.98.
"""

LOOKED = 5_000
"""Label rows whose own events are looked for: a share of 3 % then has a standard error of 0.24
%.
"""

PAIRED = 500
"""Label rows that propose offsets: 1 % of them are 5. The shares are then measured on `LOOKED`
rows.
"""

NEWEST = 1_000
"""Counted events of a row that propose offsets, the newest: 500,000 pairs, a tenth of a second for
each timestamp.
"""

OFFSETS = 12
"""Offsets of one timestamp whose shares are measured; the third of the others is the level that
data on a grid reach.
"""

OWN_SHARE = 0.03
"""Share of rows at one offset, above that level, that is a spike by itself. Honest flights have
0.002. A smaller one takes values too.
"""

AFTER = 0.5
"""Share of matched rows whose timestamp is later than the request for it to be one that is known
only afterwards.
"""

DERIVED = 0.95
"""Share of rows with one difference to the request time for a timestamp to derive from it."""

PREDICTS = 0.2
"""Strength (2 AUC - 1, or rank correlation) from which values say something about the outcome: an
AUC of 0.6.
"""

EXCESS = 0.1
"""How much stronger a row's own event is than the key's other events: values that last say the same
from both.
"""

ERRORS = 4.0
"""Standard errors that a difference of two strengths exceeds: one false alarm in 30,000
comparisons.
"""

ON_GRID = 0.98
"""Strength of values on a fixed grid that are the outcome itself; the strongest honest neighbour of
the examples has 0.92.
"""

GRID_GAP = 0.05
"""How much weaker all other offsets of a grid are then."""

TWIN = 0.3
"""Share of label rows that another table has, by keys and a timestamp, for it to contain them; half
of that at shifted times is chance.
"""

SHIFTED = 0.5
"""Share of that, at times that are shifted by an hour and a day, from which equal times are chance:
data on a grid.
"""

OUTCOME_ITSELF = 0.9
"""Strength of values that are the outcome or a part of it: an AUC of 0.95."""

SAME = 0.999
"""Rank correlation of two numbers, one computed from the other; rounding to minutes keeps it."""

LATER = 0.05
"""Share of label rows with a timestamp after `known_at` from which the audit asks what happens
then.
"""

CHANGED = 0.01
"""Share of requests that the labels have twice with another outcome, known at another time."""

CLASS_DELAY = 0.4
"""How well the label delay must predict the outcome before the audit asks: an AUC of 0.7."""

STATIC = 0.9
"""Share of keys with one row, known before the first requests, for a table to be a dimension that
is known forever.
"""

WHOLE_PERIOD = 0.98
"""Rank correlation of a dimension's values with its keys' mean outcome over all rows: it then is
that mean.
"""

HIGH = 0.97
"""A headline AUC that calls for a question."""

FAR_ABOVE = 0.2
"""How far the AUC of a single feature is above the model without history for the audit to ask."""

SECONDS = 120.0
"""Age of events that count as just before the request."""

LAST_SHARE = 0.5
"""Share of the whole lift that those events bring for the audit to ask."""

SCREENED_ROWS = 1_000
"""Training rows that a test of conditional independence needs."""

SCREENED_FEATURES = 24
"""Features that such a test looks at, those that say most of the outcome."""

SCREENED_BINS = 50
"""Groups in which an outcome of many values is held fixed: within one its ranks vary by 2 %."""

FINER_OUTCOMES = 3
"""Columns of the labels' table that stand for the outcome in more detail, such as a delay for
"late".
"""

SCREENED_SAYS = 0.15
"""Partial correlation of a field and the outcome from which the field matters: below, it adds under
0.02 to an AUC.
"""

SCREENED_CHANCE = 0.05
"""Chance that a consequence of the outcome is taken for a cause."""

SCREENED_TIMES = 2.0
"""How far the dependence on history exceeds chance for its absence, given the outcome, to mean
something.
"""

KEYED_ROWS = 200_000
"""Label rows whose keys are compared between the halves of the period, all rows of a share of the
keys.
"""

ROUNDED = 0.3
"""Share of label rows that have their own event at their rounded timestamp, of those without an
event there by chance.
"""

ROUNDED_CHANCE = 0.97
"""Share of rows with an event by chance above which rounded timestamps tell nothing."""

ON_STEP = 0.98
"""Share of timestamps on a step from which they are rounded to it."""
