from stores.recording_metrics import BUCKETS_S, RecordingMetrics


def test_prometheus_text_is_what_the_format_asks_for():
    metrics = RecordingMetrics()
    metrics.count("dead_letters", 2, reason='a "b"\n\\')
    metrics.count("events_learned", 5)
    metrics.gauge("lag_events", 2.5)
    metrics.timing("flush_seconds", 0.003)
    metrics.timing("flush_seconds", 0.004)
    metrics.timing("flush_seconds", 99.0)
    buckets = "".join(f'flush_seconds_bucket{{le="{bound}"}} {0 if bound < 0.004 else 2}\n' for bound in BUCKETS_S)
    assert metrics.prometheus_text() == (
        "# HELP dead_letters_total Events set aside, by reason.\n"
        "# TYPE dead_letters_total counter\n"
        'dead_letters_total{reason="a \\"b\\"\\n\\\\"} 2\n'
        "# HELP events_learned_total Positives learned.\n"
        "# TYPE events_learned_total counter\n"
        "events_learned_total 5\n"
        "# HELP lag_events Events in the log not yet learned.\n"
        "# TYPE lag_events gauge\n"
        "lag_events 2.5\n"
        "# HELP flush_seconds One flush, all stores.\n"
        "# TYPE flush_seconds histogram\n"
        f"{buckets}"
        'flush_seconds_bucket{le="+Inf"} 3\n'
        f"flush_seconds_sum {0.003 + 0.004 + 99.0}\n"
        "flush_seconds_count 3\n"
    )


def test_nothing_recorded_is_an_empty_text():
    assert RecordingMetrics().prometheus_text() == ""
    assert RecordingMetrics().report() == {}
    assert RecordingMetrics().value("lag_events") is None


def test_numbers_that_are_none_are_written_as_prometheus_does():
    metrics = RecordingMetrics()
    for value, text in ((float("inf"), "+Inf"), (float("-inf"), "-Inf"), (float("nan"), "NaN")):
        metrics.gauge("lag_events", value)
        assert metrics.prometheus_text().endswith(f"lag_events {text}\n")


def test_the_report_names_labels_as_prometheus_does():
    metrics = RecordingMetrics()
    metrics.count("events_learned", 3)
    metrics.gauge("recall_at_10", 0.25, order="served", window="total")
    metrics.timing("flush_seconds", 1.0)
    assert metrics.report() == {
        "events_learned": 3,
        'recall_at_10{order="served",window="total"}': 0.25,
        "flush_seconds_count": 1,
        "flush_seconds_sum": 1.0,
    }
    assert metrics.value("recall_at_10", window="total", order="served") == 0.25
