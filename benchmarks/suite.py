"""All benchmarks of speed, one after another: ``make bench``, and ``make bench-quick`` for a developer's loop.

``python -m benchmarks.suite [--quick] [--only NAME ...] [--data FOLDER]`` runs each as a program of its own, so that
none inherits another's threads or memory. What they said goes into ``benchmarks/results/latest.json``, each with the
commit that it ran on, and from there into ``docs/performance.md``; a quick run only prints. A benchmark that fails is
reported as failed. ``--data``: the folder of the NCF files, on which batch training is measured; without it, on
synthetic pairs.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.verdict import ROOT

RESULT = ROOT / "benchmarks/results/latest.json"
PAGE = ROOT / "docs/performance.md"
PLOTS = ROOT / "docs/img"


@dataclass(frozen=True)
class Question:
    """One benchmark: a module of this folder, what it asks, and how long it may take in the whole run."""

    name: str
    asks: str
    limit_s: float
    arguments: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Return the command's last words, which name the question among the others."""
        return " ".join([self.name, *self.arguments])


QUESTIONS: tuple[Question, ...] = (
    Question("learn", "What does learning one event cost?", 180),
    Question("grow", "How long does anything wait when tables grow?", 120),
    Question("train_batch", "How fast is batch training?", 300),
    Question("search", "How fast does the index find, and how exactly?", 360),
    Question("start", "How soon is each process ready?", 180),
    Question("scale", "Does anything get out of hand as users and items become many?", 240),
    Question("trainer", "How many events a second does the whole trainer take?", 480),
    Question("trainer", "The same on Kafka, MongoDB and Redis", 240, ("--stack", "full")),
    Question("serve", "How many recommendations a second, at what CPU time each?", 360, ("--stack", "full")),
    Question("where", "Where does the time of an answer, and of a learned event, go?", 180),
    Question("freshness", "How soon does an event count?", 300),
    Question("freshness", "The same on Kafka, MongoDB and Redis", 300, ("--stack", "full", "--rounds", "2000")),
)
QUICK_LIMIT_S = 60.0


def ask(question: Question, quick: bool, data: str | None) -> dict[str, Any]:
    """Run one benchmark; return its JSON object and what it printed, or why there is none."""
    command = [sys.executable, "-m", f"benchmarks.{question.name}", *question.arguments]
    command += ["--quick"] if quick else ["--data", data] if data and question.name == "train_batch" else []
    started_s = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        output, _ = process.communicate(timeout=QUICK_LIMIT_S if quick else question.limit_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # as Ctrl-C: it ends the services that it started
        output, _ = process.communicate()
        answer: dict[str, Any] = {"failed": "it took too long"}
    else:
        answer = last_line(output) or {"failed": f"exit code {process.returncode}"}
    table = output.rstrip().rpartition("\n")[0]
    print(table, flush=True)
    return answer | {"asks": question.asks, "table": table, "seconds": round(time.monotonic() - started_s, 1)}


def last_line(output: str) -> dict[str, Any] | None:
    """Return the JSON object that an output ends with, ``None`` when it does not end with one."""
    lines = output.splitlines()
    try:
        found = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def keep(title: str, answer: Mapping[str, Any]) -> None:
    """Write one answer, beside those that other runs left, into the result file and the page."""
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    kept[title] = answer
    ordered = {question.title: kept[question.title] for question in QUESTIONS if question.title in kept}
    RESULT.write_text(json.dumps(ordered, indent=1) + "\n")
    PAGE.write_text(page(ordered))


def page(answers: Mapping[str, Mapping[str, Any]]) -> str:
    """Return docs/performance.md: every bar, then what each benchmark printed, with its plots."""
    machines = {
        f"{answer['machine']['cores']} cores, {answer['machine']['platform']}, Python {answer['machine']['python']}"
        for answer in answers.values()
        if "machine" in answer
    }
    lines = [
        "# How fast it is",
        "",
        f"Written by `make bench` with the shipped defaults ({'; '.join(sorted(machines))}). Times are good to a factor"
        " of two on shared cores; the ratios, each measured in one run, are what counts. What makes it fast, and what"
        " each part of that buys, is in [ARCHITECTURE.md](../ARCHITECTURE.md).",
        "",
        "| benchmark | bar | wanted | measured | |",
        "|---|---|---|---|---|",
    ]
    for title, answer in answers.items():
        for bar in answer.get("bars", ()):
            wanted = f"≥ {bar['at_least']}" if bar["at_least"] is not None else f"≤ {bar['at_most']}"
            verdict = "met" if bar["met"] else "**missed**"
            lines.append(f"| `{title}` | {bar['name']} | {wanted} | {bar['value']} | {verdict} |")
        if "failed" in answer:
            lines.append(f"| `{title}` | – | – | {answer['failed']} | **failed** |")
    for title, answer in answers.items():
        ran = f"`python -m benchmarks.{title}` (commit {answer.get('commit')}, {answer['seconds']} s)"
        lines += ["", f"## {answer['asks']}", "", ran, "", "```", *answer["table"].splitlines(), "```"]
        name, _, options = title.partition(" ")
        if not options:
            for plot in sorted(PLOTS.glob(f"performance-{name}*.png")):
                lines += ["", f"![{plot.stem}](img/{plot.name})"]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them; return the exit code: 0 also where a bar is missed, 1 where a benchmark failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suite", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="small worlds, minutes in all; figures are rough")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=sorted({question.name for question in QUESTIONS}))
    parser.add_argument("--data", help="folder of the NCF files (ml-1m.test.rating.gz, …)")
    options = parser.parse_args(arguments)
    answers = {}
    for question in QUESTIONS:
        if options.only is None or question.name in options.only:
            print(f"\n== {question.title}: {question.asks}", flush=True)
            answers[question.title] = ask(question, options.quick, options.data)
            if not options.quick:
                keep(question.title, answers[question.title])
    bars = [bar["met"] for answer in answers.values() for bar in answer.get("bars", ())]
    failed = [title for title, answer in answers.items() if "failed" in answer]
    seconds = round(sum(answer["seconds"] for answer in answers.values()), 1)
    print(json.dumps({"bars": len(bars), "met": sum(bars), "failed": failed, "seconds": seconds}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
