"""All benchmarks of speed, one after another: ``make bench``, and ``make bench-quick`` for a developer's loop.

``python -m benchmarks.suite [--quick] [--only NAME ...]`` runs each as a program of its own, so that none inherits
another's threads or memory. The whole run writes what they said into ``benchmarks/results/latest.json`` and
``docs/performance.md``; a quick or partial one only prints. A benchmark that fails is reported as failed.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
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
    Question("freshness", "How soon does an event count?", 300),
    Question("freshness", "The same on Kafka, MongoDB and Redis", 300, ("--stack", "full")),
)
QUICK_LIMIT_S = 60.0


def ask(question: Question, quick: bool) -> dict[str, Any]:
    """Run one benchmark; return its JSON object and what it printed, or why there is none."""
    command = [sys.executable, "-m", f"benchmarks.{question.name}", *question.arguments]
    command += ["--quick"] if quick else []
    started_s = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        output, _ = process.communicate(timeout=QUICK_LIMIT_S if quick else question.limit_s)
    except subprocess.TimeoutExpired:
        process.terminate()  # it ends the services that it started
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


def page(answers: Mapping[str, Mapping[str, Any]]) -> str:
    """Return docs/performance.md: every bar, then what each benchmark printed, with its plots."""
    first = next((answer for answer in answers.values() if "machine" in answer), {})
    machine = first.get("machine", {})
    lines = [
        "# How fast it is",
        "",
        "Written by `make bench`, which ran every command below one after another with the shipped defaults"
        f" (commit {first.get('commit')}; {machine.get('cores')} cores, {machine.get('platform')},"
        f" Python {machine.get('python')}). Times are good to a factor of two on shared cores; the ratios, each"
        " measured in one run, are what counts.",
        "",
        "| benchmark | bar | wanted | measured | |",
        "|---|---|---|---|---|",
    ]
    for title, answer in answers.items():
        for bar in answer.get("bars", ()):
            wanted = f"≥ {bar['at_least']}" if bar["at_least"] is not None else f"≤ {bar['at_most']}"
            lines.append(
                f"| `{title}` | {bar['name']} | {wanted} | {bar['value']} | {'met' if bar['met'] else '**missed**'} |"
            )
        if "failed" in answer:
            lines.append(f"| `{title}` | – | – | {answer['failed']} | **failed** |")
    for title, answer in answers.items():
        lines += ["", f"## {answer['asks']}", "", f"`python -m benchmarks.{title}` ({answer['seconds']} s)", ""]
        lines += ["```", *answer["table"].splitlines(), "```"]
        for plot in sorted(PLOTS.glob(f"performance-{title.split()[0]}*.png")):
            lines += ["", f"![{plot.stem}](img/{plot.name})"]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them; return the exit code: 0 also where a bar is missed, 1 where a benchmark failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suite", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="small worlds, minutes in all; figures are rough")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=sorted({question.name for question in QUESTIONS}))
    options = parser.parse_args(arguments)
    asked = [question for question in QUESTIONS if options.only is None or question.name in options.only]
    answers = {}
    for question in asked:
        print(f"\n== {question.title}: {question.asks}", flush=True)
        answers[question.title] = ask(question, options.quick)
    if not options.quick and options.only is None:
        RESULT.write_text(json.dumps(answers, indent=1) + "\n")
        PAGE.write_text(page(answers))
    bars = [bar["met"] for answer in answers.values() for bar in answer.get("bars", ())]
    failed = [title for title, answer in answers.items() if "failed" in answer]
    seconds = round(sum(answer["seconds"] for answer in answers.values()), 1)
    print(json.dumps({"bars": len(bars), "met": sum(bars), "failed": failed, "seconds": seconds}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
