"""Every row of docs/semantics.md is held by a law of this folder: the table below says which.

Rows of the section "Online, by the same rule" are of what is served: SERVED has their laws. A row
that is added to the page, or renamed, is missing here until a law holds it.
"""

import ast
import re
from pathlib import Path

FOLDER = Path(__file__).parent
PAGE = (FOLDER.parents[1] / "docs" / "semantics.md").read_text(encoding="utf-8")

ROWS, VALUES, BACKTESTS = (
    "test_training_rows.py",
    "test_training_values.py",
    "test_backtested_rows.py",
)
REFUSALS, LIMITS = "test_refusals.py", "test_limits.py"
WORLDS = f"{ROWS}::test_worlds"  # cell by cell against the oracle, in which each rule is a function
CHANGES, CHAINS = f"{ROWS}::test_worlds_of_changes", f"{ROWS}::test_chains"

LAWS = {
    # the rule
    "`batch(every, at=, timezone=, delay=, wait=)`": [
        WORLDS,
        f"{VALUES}::test_the_wait_of_a_job_takes_late_events_in",
    ],
    "`streaming(lag)`": [WORLDS],
    "`on_request()`": [WORLDS],
    "`measured(ages)`": [
        WORLDS,
        f"{VALUES}::test_measured_ages_are_drawn_by_the_time_of_the_request",
    ],
    "`never()`": [WORLDS],
    # line by line
    "time": [
        WORLDS,
        f"{VALUES}::test_dates_and_local_times",
        f"{REFUSALS}::test_wrong_data_are_refused",
    ],
    "known at": [WORLDS, f"{VALUES}::test_rows_that_are_left_out_are_counted_by_reason"],
    "coarse timestamps": [
        f"{VALUES}::test_whole_days_are_not_reinterpreted_but_by_known_after",
        f"{BACKTESTS}::test_levels_that_timestamps_cannot_tell_apart_are_not_measurable",
        f"{BACKTESTS}::test_undeclared_days_are_asked_about_and_exact_ones_are_not",
    ],
    "coarse request times": [
        f"{BACKTESTS}::test_coarse_request_times_cannot_measure_levels_within_their_step"
    ],
    "dates": [f"{VALUES}::test_dates_and_local_times", f"{REFUSALS}::test_wrong_data_are_refused"],
    "hop": [WORLDS, f"{LIMITS}::test_a_limit_holds_just_inside_and_just_past_it"],
    "order and ties": [WORLDS, f"{ROWS}::test_neither_order_nor_threads_nor_company_change_a_bit"],
    "duplicates": [WORLDS, f"{VALUES}::test_rows_that_are_left_out_are_counted_by_reason"],
    "columns that decide ties": [WORLDS, CHANGES],
    "corrections, deletions": [
        CHANGES,
        f"{VALUES}::test_the_picture_of_a_correction_and_a_deletion",
    ],
    "images with one known time": [CHANGES],
    "images without effect": [CHANGES, f"{VALUES}::test_images_without_effect_are_counted"],
    "requirements of `changes`": [f"{REFUSALS}::test_a_wrong_definition_is_refused"],
    "null": [WORLDS, f"{REFUSALS}::test_wrong_data_are_refused"],
    "integers": [f"{VALUES}::test_numbers_at_their_limits"],
    "decimals": [
        WORLDS,
        f"{VALUES}::test_decimals_are_integers_or_floats",
        f"{REFUSALS}::test_wrong_data_are_refused",
    ],
    "floats": [
        f"{VALUES}::test_numbers_at_their_limits",
        f"{ROWS}::test_neither_order_nor_threads_nor_company_change_a_bit",
    ],
    "no events": [WORLDS, f"{VALUES}::test_the_table_of_statuses"],
    "secondary key": [WORLDS, f"{VALUES}::test_the_picture_of_a_secondary_key"],
    "sketches": [
        f"{VALUES}::test_a_distinct_count_is_exact_up_to_512_and_near_beyond",
        f"{VALUES}::test_a_percentile_is_within_its_error_and_depends_on_the_values_alone",
    ],
    "names": [WORLDS, f"{VALUES}::test_a_feature_is_named_by_function_column_and_window"],
    "ttl": [WORLDS, f"{VALUES}::test_ttl_counts_to_the_last_counted_event"],
    "status": [WORLDS, f"{VALUES}::test_the_table_of_statuses"],
    "queue": [WORLDS, CHAINS],
    "enriched events": [CHAINS, f"{ROWS}::test_chains_at_levels"],
    "chained views": [
        CHAINS,
        f"{ROWS}::test_chains_at_levels",
        f"{LIMITS}::test_a_chain_of_views_may_be_deep",
    ],
    "features of features": [
        f"{VALUES}::test_request_features_are_null_where_a_parameter_is",
        f"{VALUES}::test_request_features_enrich_events",
    ],
    "keys": [
        WORLDS,
        f"{REFUSALS}::test_wrong_data_are_refused",
        f"{LIMITS}::test_keys_may_be_of_any_length",
    ],
    "lists of keys": [
        CHAINS,
        f"{VALUES}::test_lists_of_keys_have_one_status",
        f"{LIMITS}::test_a_list_of_keys_has_its_length_at_most",
    ],
    "rows": [WORLDS, f"{VALUES}::test_rows_before_every_event_are_warned_of"],
    "labels": [
        f"{ROWS}::test_labels_and_training_sets",
        f"{VALUES}::test_weights_reach_the_estimator_and_nothing_else",
    ],
    # the table of statuses
    "11:30, amount 5": [f"{VALUES}::test_the_table_of_statuses"],
    "11:30, amount null": [f"{VALUES}::test_the_table_of_statuses"],
    "08:00, amount 5": [f"{VALUES}::test_the_table_of_statuses"],
    "none for a day, a key without events, or null": [f"{VALUES}::test_the_table_of_statuses"],
    # rankings
    "candidates": [f"{BACKTESTS}::test_negatives_are_drawn_from_the_candidates_of_the_request"],
    "negatives": [
        f"{BACKTESTS}::test_negatives_are_drawn_from_the_candidates_of_the_request",
        f"{BACKTESTS}::test_with_few_candidates_each_is_taken_once",
    ],
    "popularity": [
        f"{BACKTESTS}::test_popular_items_are_drawn_by_the_positives_known_before_the_day"
    ],
    "correction": [
        f"{BACKTESTS}::test_negatives_are_drawn_from_the_candidates_of_the_request",
        f"{BACKTESTS}::test_estimators_that_take_no_correction_are_refused",
    ],
    "evaluation": [
        f"{BACKTESTS}::test_every_candidate_is_ranked_and_the_ladder_leaves_out_the_request_alone"
    ],
    "levels": [
        f"{BACKTESTS}::test_every_candidate_is_ranked_and_the_ladder_leaves_out_the_request_alone"
    ],
    "chosen item not a candidate": [
        f"{BACKTESTS}::test_a_chosen_item_that_is_no_candidate_is_left_out_of_training"
    ],
    "rows of a group": [f"{BACKTESTS}::test_an_item_repeated_in_a_group_counts_once"],
    "memory": [f"{BACKTESTS}::test_candidates_beyond_the_memory_change_nothing"],
    # the audit
    "events of requests": [f"{BACKTESTS}::test_the_audit_finds_what_is_planted"],
    "label rows": [f"{BACKTESTS}::test_the_audit_finds_what_is_planted"],
    "own outcome": [f"{BACKTESTS}::test_the_audit_finds_what_is_planted"],
    "label rows in another table": [f"{BACKTESTS}::test_the_audit_finds_what_is_planted"],
    "request fields": [f"{BACKTESTS}::test_the_audit_finds_what_is_planted"],
    "label times": [f"{BACKTESTS}::test_the_audit_finds_what_is_planted"],
    "static tables": [f"{BACKTESTS}::test_the_audit_finds_what_is_planted"],
    "late request fields": [f"{BACKTESTS}::test_the_audit_finds_what_is_planted"],
}
REFUSED = {  # the list of definitions and calls that are refused, by the beginning of each
    "A source without `select` over a table with other timestamps": [
        f"{REFUSALS}::test_wrong_data_are_refused"
    ],
    "A source over the labels' own table": [
        f"{BACKTESTS}::test_a_source_over_the_labels_that_knows_the_label_early_is_refused"
    ],
    "A `select` or `filter` that is not row-wise": [
        f"{REFUSALS}::test_a_wrong_definition_is_refused"
    ],
    "A label named like a feature": [f"{REFUSALS}::test_wrong_data_are_refused"],
    "A streaming view over a source without a stream": [
        f"{REFUSALS}::test_views_that_no_pipeline_can_keep_are_refused",
        f"{REFUSALS}::test_a_streaming_view_without_a_stream_is_warned_of_by_a_plan_and_refused_by_ingestion",
    ],
    '`writers="partition"`': [f"{REFUSALS}::test_a_wrong_definition_is_refused"],
    "Another writer than": [f"{REFUSALS}::test_another_writer_of_a_stream_than_before_is_refused"],
    "A LEAK takes at least 1 %": [
        f"{BACKTESTS}::test_what_is_proven_of_few_requests_is_a_question"
    ],
    "A value *is* the outcome": [f"{BACKTESTS}::test_the_audit_finds_what_is_planted"],
    "An outcome is a column that the label is made of": [
        f"{BACKTESTS}::test_the_audit_finds_what_is_planted"
    ],
    "A question is answered with a reason and an author": [
        f"{BACKTESTS}::test_an_answer_never_lifts_a_leak_and_must_name_a_check"
    ],
    "Strong single features": [f"{BACKTESTS}::test_an_honest_design_is_not_accused"],
}
ONLINE = "Online, by the same rule"
EVENTS = "test_events.py::test_what_is_served_is_what_training_computes"
CHANGED, PUSHED = "test_changed_definitions.py", "test_events.py::test_pushed_events_count_once"
JOBS = "test_faults_of_a_job.py::test_a_cut_is_there_as_a_whole_or_not"
SERVED = {
    "known at, online": [EVENTS, "test_roads.py::test_every_road_gives_one_answer"],
    "T and K of a stream": [EVENTS, "test_roads.py::test_every_road_gives_one_answer"],
    "events of the future": [
        EVENTS,
        f"{CHANGED}::test_held_records_are_judged_by_the_definition_of_their_release",
    ],
    "late events": [EVENTS],
    "corrections, online": [EVENTS, f"{CHANGED}::test_features_and_filters_over_corrections"],
    "images of the future": [
        "test_images_of_the_future.py::test_the_version_before_stays_until_then",
        "test_images_of_the_future.py::test_an_image_before_retracts_at_once",
    ],
    "state of a changeable event": [EVENTS],
    "duplicates": [EVENTS, f"{CHANGED}::test_held_copies_and_ids"],
    "refused records": [EVENTS, PUSHED],
    "a batch view": [JOBS, f"{CHANGED}::test_from_batch_to_streaming_and_back"],
    "a run": [JOBS],
    "a new streaming view": [
        "test_faults_of_a_fill.py::test_a_new_view_is_filled_as_if_nothing_had_gone_wrong",
        f"{CHANGED}::test_features_are_added_and_removed",
    ],
    "completeness of a state": [
        f"{CHANGED}::test_a_window_longer_than_the_archive_is_said_to_be_incomplete",
        f"{CHANGED}::test_an_archive_that_lacks_files_is_found",
    ],
    "floats": [EVENTS],
    "queue": [EVENTS, "test_served_log.py::test_intervals_that_end_between_requests"],
}
DESIGN = {  # the matters of the design's own table, and the rows of the page that say them
    "time": ["time"],
    "declared and observed": ["known at", "coarse timestamps"],
    "known_at": ["known at"],
    "one table, several moments": ["known at", "label rows"],
    "hop": ["hop"],
    "order and ties": ["order and ties"],
    "duplicates": ["duplicates"],
    "nulls": ["null", "integers"],
    "empty, missing": ["no events"],
    "status of a value": ["status", "ttl"],
    "rows": ["rows"],
    "floats": ["floats"],
    "sketches": ["sketches"],
    "corrections, deletions": [
        "corrections, deletions",
        "images with one known time",
        "images without effect",
    ],
    "labels": ["labels"],
    "dates and coarse times": ["dates", "coarse timestamps"],
    "ties read alike": ["columns that decide ties"],
    "keys": ["keys", "lists of keys"],
}


def rows_of(text):
    """The first cells of the tables of a page, without those of their heads."""
    lines = text.splitlines()
    bodies = [line for line in lines if line.startswith("| ")]
    heads = {lines[n - 1] for n, line in enumerate(lines) if re.fullmatch(r"(\|-+)+\|", line)}
    return [line.split(" | ")[0].removeprefix("| ") for line in bodies if line not in heads]


def sections():
    """The text of each section of the page."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def laws_of(file):
    tree = ast.parse((FOLDER / file).read_text(encoding="utf-8"))
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_no_row_is_missing():
    titles = [
        title for name, text in sections().items() if name != ONLINE for title in rows_of(text)
    ]
    assert len(titles) > 50, "the page is read"
    assert [title for title in titles if title not in LAWS] == []
    assert [title for title in LAWS if title not in titles] == []
    served = rows_of(sections()[ONLINE])
    assert [title for title in served if title not in SERVED] == []
    assert [title for title in SERVED if title not in served] == []


def test_no_refusal_is_missing():
    said = re.findall(r"^- (.+)$", sections()["Errors"], flags=re.MULTILINE)
    assert [
        line[:60] for line in said if not any(line.startswith(begin) for begin in REFUSED)
    ] == []
    assert [begin for begin in REFUSED if not any(line.startswith(begin) for line in said)] == []


def test_what_the_design_says_is_a_row_of_the_page():
    assert [title for titles in DESIGN.values() for title in titles if title not in LAWS] == []


def test_every_law_that_is_named_is_there():
    named = {law for laws in (*LAWS.values(), *REFUSED.values(), *SERVED.values()) for law in laws}
    files = {law.partition("::")[0] for law in named}
    assert named - {f"{file}::{law}" for file in files for law in laws_of(file)} == set()


def test_every_row_has_a_law():
    assert [
        title for rows in (LAWS, SERVED, REFUSED) for title, laws in rows.items() if not laws
    ] == []
