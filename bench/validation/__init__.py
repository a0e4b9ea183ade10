"""Whether verdicts are right where the truth is known: simulated worlds, and what headwater says of
each.

    world.py            a full run: a small model, two levels, one split
    readings.py         worlds whose lift of fresher features is known
    departures.py       worlds whose features come from earlier outcomes: honest ones, and ones with
                        a planted leak
    predictions.py      predictions drawn with a known lift, judged without training: coverage of
                        intervals
    questions.py        the questions to each world, and the sums of the answers
    runner.py           many runs, by two processes, resumable
    page.py, page_text.py docs/validation.md

Tuning seeds are for choosing thresholds; figures are of held-out seeds, which are another range.
"""
