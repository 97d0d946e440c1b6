"""The stream figures of docs/quality.md: runs the benchmark on the three streams and writes tables and plots.

``python -m benchmarks.quality_page --data FOLDER`` measures what has no result in ``benchmarks/results`` yet (remove a
file to measure it again) and rewrites the page's generated part. A quarter of an hour on one core.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.stream_quality import main as stream_quality
from benchmarks.stream_run import ALL_METHODS

RESULTS = Path("benchmarks/results")
PAGE = Path("docs/quality.md")
PICTURES = Path("docs/img")
BEGIN, END = "<!-- generated: stream figures -->", "<!-- end of generated -->"

MOVIELENS = ["--users", "userId", "--items", "movieId", "--time", "timestamp", "--positive", "rating>=4"]
GLOBO = ["--users", "user_id", "--items", "click_article_id", "--time", "click_timestamp", "--score-every", "40"]
# Scored where the time of an event is known, which is in the second half.
REBUILT = ["--users", "user_id", "--items", "item_id", "--time", "order", "--score-only", "timestamp>=0"]
FILES = {
    "ml-latest-small": ("ml-latest-small/ratings.csv.gz", MOVIELENS),
    "globo": ("globo/clicks_2017-10-01_07.parquet", GLOBO),
    "rebuilt-ml-1m": ("ml-1m/rebuilt_stream.parquet", [*REBUILT, "--score-from", "0.5", "--max-scored", "40000"]),
}
# What is measured besides: from where on it is scored, and how.
VARIANTS = {
    "": {"globo": ["--seeds", "3", "--score-from", "400000"], "*": ["--seeds", "3"]},
    "-second-half": {"*": ["--score-from", "0.5"]},
    "-warm": {"*": ["--score-from", "0.5", "--warm", "0.5"]},
    "-lag": {"*": ["--score-from", "0.5", "--lag", "1000"]},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing, then write the page; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality_page", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, help="folder of the three streams; without it only the page is written")
    options = parser.parse_args(arguments)
    if options.data is not None:
        for variant, extra in VARIANTS.items():
            for stream, (file, columns) in FILES.items():
                if (stream, variant) == ("rebuilt-ml-1m", "-second-half"):
                    continue  # it is scored in its second half anyway
                _measure(stream, variant, options.data / file, [*columns, *extra.get(stream, extra["*"])])
    results = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    if "rebuilt-ml-1m" in results:
        results["rebuilt-ml-1m-second-half"] = results["rebuilt-ml-1m"]
    head, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}\n{page(results)}{END}{tail}")
    return 0


def _measure(stream: str, variant: str, data: Path, arguments: list[str]) -> None:
    result = RESULTS / f"{stream}{variant}.json"
    if not result.exists():
        plot = PICTURES / f"stream-{stream}.png" if not variant else RESULTS / f"{stream}{variant}.png"
        code = stream_quality(["--data", str(data), *arguments, "--plot", str(plot), "--result", str(result)])
        if code:
            raise SystemExit(code)


def page(results: dict[str, dict[str, Any]]) -> str:
    """Return the generated part of the page."""
    streams = [name for name in FILES if name in results]
    parts = [
        "Recall@10, mean of the seeds, with the 95 % bootstrap interval over users:\n",
        _table(
            ["", *streams],
            [[_name(method), *(_recall(results[name], method) for name in streams)] for method in ALL_METHODS],
        ),
        "Recall@10 that what is served is ahead by (95 % interval over users):\n",
        _table(
            ["", *streams],
            [
                [method, *(_ahead(results[name], method) for name in streams)]
                for method in ALL_METHODS
                if method != "served"
            ],
        ),
        "What is served, from other sides:\n",
        _table(
            ["", *streams],
            [[label, *(_cell(read, results, name) for name in streams)] for label, read in SIDES.items()],
        ),
        *(f"![recall over {name}](img/stream-{name}.png)\n" for name in streams),
    ]
    return "\n".join(parts)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _list(values: Sequence[float | None]) -> str:
    return " ".join(_percent(value) for value in values)


def _of_variant(variant: str) -> Any:
    return lambda results, name: _percent(results[name + variant]["recall10_by_seed"][0])


SIDES: dict[str, Any] = {
    "positives / scored": lambda results, name: f"{results[name]['events']:,} / {results[name]['scored']:,}",
    "seeds": lambda results, name: str(results[name]["settings"]["seeds"]),
    "share of never-seen items": lambda results, name: _percent(results[name]["never_seen"]),
    "recall@1 / NDCG@10": lambda results, name: (
        f"{results[name]['recall1']['served']:.3f} / {results[name]['ndcg10']['served']:.3f}"
    ),
    "users of the first half / new ones": lambda results, name: _list(
        list(results[name]["users_of_first_half"]["served"].values())
    ),
    "the user's 2nd to 6th positive": lambda results, name: _list(results[name]["new_user_recall10"]),
    "items with 8-15, 16-31, 32-63 positives": lambda results, name: _list(
        list(results[name]["new_item_recall10"].values())
    ),
    "tenths of the stream": lambda results, name: _list(results[name]["tenths"]),
    "coverage@10 / diversity@10": lambda results, name: (
        f"{results[name]['coverage10']:.3f} / {results[name]['diversity10']:.3f}"
    ),
    "positives learned per second and core": lambda results, name: f"{results[name]['events_per_s']:,}",
    "second half, from nothing, first seed": _of_variant("-second-half"),
    "the same after initial training on the first half": _of_variant("-warm"),
    "the same with vectors 1,000 events late": _of_variant("-lag"),
    "logit of a random item, first to last tenth": lambda results, name: "{0:+.2f} to {9:+.2f}".format(
        *results[name + "-second-half"]["random_logits"]
    ),
}


def _cell(read: Any, results: dict[str, dict[str, Any]], name: str) -> str:
    try:
        return str(read(results, name))
    except KeyError:  # not measured
        return "not measured"


def _name(method: str) -> str:
    return f"**{method}**" if method == "served" else method


def _recall(result: dict[str, Any], method: str) -> str:
    low, high = result["recall10_interval"][method]
    figure = f"{result['recall10'][method]:.4f} ({low:.3f} to {high:.3f})"
    return f"**{figure}**" if method == "served" else figure


def _ahead(result: dict[str, Any], method: str) -> str:
    difference = result["served_minus"][method]
    low, high = difference["interval"]
    return f"{difference['mean']:+.4f} ({low:+.4f} to {high:+.4f})"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
