"""The generated part of docs/conformance.md: what ran, what failed and why, what does not run and why."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conformance.choice import Choice, Known, Portion, group_of
from conformance.errors import ConformanceError
from conformance.results import Outcome, Result

PAGE = Path(__file__).resolve().parent.parent / "docs" / "conformance.md"
BEGIN, END = "<!-- conformance: begin -->", "<!-- conformance: end -->"
# The goals: all tests of these groups, and this share of a declared set of at least this size.
WHOLE_GROUPS = ("sig-api-machinery", "sig-auth")
SHARE, LEAST = 0.97, 370


@dataclass(slots=True)
class Count:
    """The tests of one group by result. `known` and `unknown` are failures; a test that skipped itself is a failure."""

    declared: int = 0
    passed: int = 0
    known: int = 0
    unknown: int = 0
    not_run: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """The results of a declared set."""

    version: str
    listed: int
    counts: Mapping[str, Count]
    known: Sequence[tuple[Known, Sequence[str]]]
    unknown: Mapping[str, str]
    surprising: Sequence[str] = field(default=())

    @property
    def total(self) -> Count:
        whole = Count()
        for count in self.counts.values():
            for name in Count.__slots__:
                setattr(whole, name, getattr(whole, name) + getattr(count, name))
        return whole

    @property
    def is_as_declared(self) -> bool:
        """Whether every test ran, and exactly those failed that are known to."""
        return not self.unknown and not self.surprising and self.total.not_run == 0


def summarize(
    listed: Sequence[str], portions: Iterable[Portion], choice: Choice, results: Mapping[str, Result], version: str
) -> Summary:
    """Compare results with the declared set."""
    declared = {test for portion in portions for test in portion.tests}
    expected = {test for known in choice.failing for test in known.tests}
    counts: dict[str, Count] = {}
    unknown, surprising = {}, []
    for test in sorted(declared):
        count = counts.setdefault(group_of(test), Count())
        count.declared += 1
        result = results.get(test)
        if result is None:
            count.not_run += 1
        elif result.outcome is Outcome.PASSED:
            count.passed += 1
            surprising += [test] if test in expected else []
        elif test in expected:
            count.known += 1
        else:
            count.unknown += 1
            unknown[test] = result.message
    failed = [(known, [test for test in known.tests if _has_failed(results.get(test))]) for known in choice.failing]
    return Summary(version, len(listed), counts, failed, unknown, surprising)


def _has_failed(result: Result | None) -> bool:
    return result is not None and result.outcome is not Outcome.PASSED


def render(summary: Summary, choice: Choice, results: Mapping[str, Result]) -> str:
    """The generated part, without its marks."""
    total = summary.total
    ran = total.declared - total.not_run
    parts = [
        f"Kubernetes {summary.version} lists {summary.listed} conformance tests. **{total.declared} are declared, "
        f"{total.passed} of them pass ({_percent(total.passed, total.declared)})**. {total.not_run} have no result "
        f"yet; of the {ran} others {_percent(total.passed, ran)} pass, {total.known} fail for a known reason and "
        f"{total.unknown} for another. {_describe_runs(results)}",
        _table(
            ("group", "declared", "passed", "known failures", "other failures", "not run"),
            [
                (name, *(str(getattr(count, key)) for key in Count.__slots__))
                for name, count in (*sorted(summary.counts.items()), ("**all**", total))
            ],
        ),
    ]
    if missed := find_missed_goals(summary):
        parts.append(f"Goals that are not reached: {'; '.join(missed)}.")
    if shown := [(known, tests) for known, tests in summary.known if tests]:
        parts.append("### Known failures")
        parts += [_list(known.reason, tests) for known, tests in shown]
    if summary.unknown:
        parts.append("### Other failures")
        parts.append("\n".join(f"* `{test}`: {_plain(text)}" for test, text in summary.unknown.items()))
    if summary.surprising:
        parts.append(_list("Known to fail, but passed:", summary.surprising))
    if choice.excluded:
        parts.append("### Not declared")
        parts += [_list(known.reason, known.tests) for known in choice.excluded]
    return "\n\n".join(parts)


def write(text: str, page: Path = PAGE) -> None:
    """
    Replace the generated part of the page.

    Raises:
        ConformanceError: the page lacks its marks.
    """
    old = page.read_text("utf-8")
    head, begin, rest = old.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ConformanceError(f"{page} needs the lines {BEGIN} and {END}")
    page.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}", "utf-8")


def find_missed_goals(summary: Summary) -> list[str]:
    """The goals that the results do not reach."""
    total = summary.total
    missed = []
    for name in WHOLE_GROUPS:
        count = summary.counts.get(name, Count())
        if count.passed < count.declared or not count.declared:
            missed.append(f"all of {name}: {count.passed} of {count.declared} pass")
    if total.declared < LEAST:
        missed.append(f"at least {LEAST} declared tests: there are {total.declared}")
    if total.passed < SHARE * total.declared:
        missed.append(f"{SHARE:.0%} of the declared tests: {_percent(total.passed, total.declared)} pass")
    return missed


def _describe_runs(results: Mapping[str, Result]) -> str:
    runs = sorted({(result.day, result.commit) for result in results.values()})
    return "" if not runs else f"Runs: {', '.join(f'{day} (commit {commit})' for day, commit in runs)}."


def _percent(part: int, whole: int) -> str:
    """
    >>> _percent(359, 370), _percent(0, 0)
    ('97.0 %', '0.0 %')
    """
    return f"{100 * part / whole if whole else 0:.1f} %"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _list(reason: str, tests: Iterable[str]) -> str:
    return "\n".join([reason, "", *(f"* `{test}`" for test in tests)])


def _plain(text: str) -> str:
    """Text of a failure, so that nothing in it becomes markup."""
    return f"`{text.replace('`', chr(39))}`" if text else "no message"
