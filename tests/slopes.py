"""How the time of a pattern or a function grows with hostile inputs: patterns found, attacks made, growth measured."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import itertools
import math
import pkgutil
import re
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as sre_parser  # type: ignore[attr-defined]
from time import thread_time
from types import ModuleType
from typing import Any

import tokenmill

SIZES = (10_000, 20_000, 40_000, 80_000)
"""Lengths of attacks, in characters."""
MAX_EXPONENT = 1.3
MAX_SECONDS_PER_MB = 1.0
"""On a machine that makes 80,000 matches of one character in `USUAL_MATCHES` seconds; more on a slower one."""
USUAL_MATCHES = 0.012
FLOOR = 0.004
"""Seconds on the longest attack below which growth is noise: a quadratic pattern that needs 4 ms for 80,000 characters
needs 0.6 s for a megabyte."""
GIVE_UP = 2.0
"""Seconds after which one call is stopped; it counts as endless."""

_LOOKED_AT = (ast.Attribute, ast.Call)
METHODS = ("search", "match", "fullmatch", "finditer", "findall", "sub", "subn", "split")


@dataclass(frozen=True)
class Use:
    """A pattern of the package and the method with which it is called."""

    where: str
    pattern: re.Pattern[Any]
    method: str
    engine: str = "re"

    def __str__(self) -> str:
        return f"{self.where}.{self.method}"


def module_names() -> list[str]:
    """Every module of the package, most of them not imported yet."""
    infos = pkgutil.walk_packages(tokenmill.__path__, "tokenmill.")
    return [info.name for info in infos if not info.name.endswith("__main__")]


def modules() -> list[ModuleType]:
    """Every module of the package; those whose extra is not installed are left out."""
    found = []
    for name in module_names():
        with contextlib.suppress(ImportError):
            found.append(importlib.import_module(name))
    return found


def uses() -> list[Use]:
    """Every pattern that a module holds or writes into a call, with the methods that the package calls on it.

    It takes seconds: for tests, not for the time when they are collected.
    """
    found: dict[tuple[str, str], Use] = {}
    for module in modules():
        tree = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, _LOOKED_AT)]
        methods = _methods_by_name(tree)
        for name, pattern in _held(module):
            for method in sorted(methods.get(name, {"finditer"})):
                found[(f"{module.__name__}:{name}", method)] = Use(f"{module.__name__}:{name}", pattern, method)
        for name, pattern in _given_to_re2(tree, module):
            found[(f"{module.__name__}:{name}", "re2")] = Use(f"{module.__name__}:{name}", pattern, "re2", "re2")
        for line, literal, flags, method in _literals(tree, module):
            pattern = re.compile(literal, flags)
            if not any(pattern == use.pattern for use in found.values()):
                where = f"{module.__name__}:{line}"
                found[(where, method)] = Use(where, pattern, method)
    return list(found.values())


def _held(module: ModuleType) -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Patterns in the names of a module and of its classes, in containers as well; imported names are not its own."""
    for name, value in vars(module).items():
        if isinstance(value, type) and value.__module__ == module.__name__:
            for inner, attribute in vars(value).items():
                yield from ((f"{name}.{inner}", pattern) for pattern in _patterns(attribute, 3))
        elif not isinstance(value, ModuleType):
            yield from ((name, pattern) for pattern in dict.fromkeys(_patterns(value, 4)))


def _patterns(value: Any, depth: int) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif depth and isinstance(value, dict) and len(value) < 2000:
        for item in value.values():
            yield from _patterns(item, depth - 1)
    elif depth and isinstance(value, tuple | list | set | frozenset) and len(value) < 2000:
        for item in value:
            yield from _patterns(item, depth - 1)


def _methods_by_name(tree: Sequence[ast.AST]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for node in tree:
        if isinstance(node, ast.Attribute) and node.attr in METHODS and isinstance(node.value, ast.Name):
            found.setdefault(node.value.id, set()).add(node.attr)
    return found


def _literals(tree: Sequence[ast.AST], module: ModuleType) -> Iterator[tuple[int, Any, int, str]]:
    """Line, pattern, flags and method of `re.X("...")` and of calls of a module that calls itself a regex library."""
    for node in tree:
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        library = node.func.value
        if not (isinstance(library, ast.Name) and library.id in ("re", "re2", "regex")):
            continue
        try:
            literal = eval(compile(ast.Expression(node.args[0]), "<pattern>", "eval"), vars(module))
            flags = [eval(compile(ast.Expression(a), "<flags>", "eval"), vars(module)) for a in node.args[1:]]
        except NameError:  # made of local names: tested with the function that makes it
            continue
        if isinstance(literal, str | bytes) and node.func.attr in (*METHODS, "compile"):
            number = sum(int(flag) for flag in flags if isinstance(flag, re.RegexFlag))
            yield node.lineno, literal, number, "finditer" if node.func.attr == "compile" else node.func.attr


def _given_to_re2(tree: Sequence[ast.AST], module: ModuleType) -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Patterns that a module gives to the scans of `text.pii.scan`, which run on RE2."""
    for node in tree:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("places", "occurs"):
            if node.args and isinstance(node.args[0], ast.Name) and isinstance(vars(module).get(node.args[0].id), str):
                yield node.args[0].id, re.compile(vars(module)[node.args[0].id])
            elif node.args and isinstance(node.args[0], ast.Constant):
                yield f"{node.lineno}", re.compile(node.args[0].value)


def attacks(pattern: re.Pattern[Any]) -> list[tuple[str, str]]:
    """(prefix, unit) from the pattern's own characters, sub-patterns and beginnings: prefix + unit * n, and an end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = sre_parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
    samples: dict[str, None] = {}
    for piece in _samples(parsed):
        if piece:
            samples.setdefault(piece[:60])
    units = [*dict.fromkeys(char for sample in samples for char in sample)][:24]
    whole = list(samples)[:28]
    beginnings = sorted([sample for sample in whole if len(sample) > 1], key=len, reverse=True)[:8]
    first = units[:6]
    made = [("", unit) for unit in [*units, *whole, " ", "\n", "\t", "a", "1", "-", "a ", "1 ", "a1", "a."]]
    made += [("", a + b) for a in first for b in [*units[:8], " "] if a != b]
    made += [(beginning, unit) for beginning in beginnings for unit in [*first[:4], " ", "a", "1"]]
    return list(dict.fromkeys(made))


def _samples(parsed: Any) -> Iterator[str]:
    """Strings that parts of a pattern match: all of it, its beginnings, each sub-pattern, each branch."""
    text = ""
    items = list(parsed)
    for position, (op, argument) in enumerate(items):
        yield from _inner_samples(op, argument)
        text += _one(op, argument)
        if position + 1 == len(items) or not items[position][0] is items[position + 1][0] is sre.LITERAL:
            yield text


def _inner_samples(op: Any, argument: Any) -> Iterator[str]:
    if op is sre.IN:
        yield from _members(argument)
    elif op is sre.BRANCH:
        for branch in argument[1][:12]:
            yield from _samples(branch)
    elif op is sre.SUBPATTERN:
        yield from _samples(argument[3])
    elif op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        yield from _samples(argument[2])
        longest = min(int(argument[1]), 40)
        yield "".join(_one(*item) for item in argument[2]) * longest
    elif op in (sre.ASSERT, sre.ASSERT_NOT):
        yield from _samples(argument[1])
    elif op is sre.ATOMIC_GROUP:
        yield from _samples(argument)
    else:
        yield _one(op, argument)


def _one(op: Any, argument: Any) -> str:
    """One string that an item of a parsed pattern matches (shortest repetitions, but at least one)."""
    if op is sre.LITERAL:
        return chr(argument)
    if op is sre.NOT_LITERAL:
        return "a" if argument != ord("a") else "b"
    if op is sre.ANY:
        return "x"
    if op is sre.IN:
        return next(_members(argument), "")
    if op is sre.BRANCH:
        return "".join(_one(*item) for item in argument[1][0])
    if op is sre.SUBPATTERN:
        return "".join(_one(*item) for item in argument[3])
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        return "".join(_one(*item) for item in argument[2]) * min(max(int(argument[0]), 1), 40)
    return "".join(_one(*item) for item in argument) if op is sre.ATOMIC_GROUP else ""


_CATEGORIES = {
    sre.CATEGORY_DIGIT: "1",
    sre.CATEGORY_SPACE: " \n",
    sre.CATEGORY_WORD: "a1_",
    sre.CATEGORY_NOT_DIGIT: "a ",
    sre.CATEGORY_NOT_SPACE: "a.",
    sre.CATEGORY_NOT_WORD: ". ",
}


def _members(items: Any) -> Iterator[str]:
    """A few characters of a class."""
    if items and items[0][0] is sre.NEGATE:
        excluded = re.compile("".join(["[", *(_class_item(op, value) for op, value in items[1:]), "]"]))
        yield from [char for char in "a1 ._-<\"'\n" if not excluded.fullmatch(char)][:5]
        return
    for op, value in items[:40]:
        if op is sre.LITERAL:
            yield chr(value)
        elif op is sre.RANGE:
            yield chr(value[0])
        elif op is sre.CATEGORY:
            yield from _CATEGORIES.get(value, "a")


def _class_item(op: Any, value: Any) -> str:
    if op is sre.LITERAL:
        return re.escape(chr(value))
    if op is sre.RANGE:
        return f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}"
    return {sre.CATEGORY_DIGIT: r"\d", sre.CATEGORY_SPACE: r"\s", sre.CATEGORY_WORD: r"\w"}.get(value, "")


def hostile(prefix: str, unit: str, size: int, end: str) -> str:
    """The attack at a length; the end is a character that few patterns want."""
    return (prefix + unit * (size // len(unit) + 1))[:size] + end


class _TooLong(Exception):
    pass


@contextlib.contextmanager
def _limit() -> Iterator[None]:
    """Stop what runs longer than `GIVE_UP` (`re` looks at signals meanwhile)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, GIVE_UP)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def seconds(call: Callable[[Any], object], argument: Any, repeats: int) -> float:
    """Fewest CPU seconds of some calls (a busy machine stretches the others); infinity when one is stopped."""
    best = math.inf
    try:
        for _ in range(repeats):
            with _limit():
                started = thread_time()
                call(argument)
                best = min(best, thread_time() - started)
            if best > 0.5:
                break
    except _TooLong:
        return math.inf
    return best


@dataclass(frozen=True)
class Growth:
    """Times by length, and what they say."""

    times: tuple[float, ...]
    limit: float = MAX_SECONDS_PER_MB

    @property
    def exponent(self) -> float:
        """Slope of log time over log length, over the lengths whose times are no noise."""
        points = [(math.log(n), math.log(t)) for n, t in zip(SIZES, self.times, strict=False) if t > FLOOR / 8]
        if len(points) < 2:
            return 0.0
        x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
        return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)

    @property
    def per_megabyte(self) -> float:
        return self.times[-1] / SIZES[len(self.times) - 1] * 1e6

    @property
    def bad(self) -> bool:
        if math.inf in self.times:
            return True
        if self.per_megabyte > self.limit and self.per_megabyte > self.limit * slowness():  # looked at only when late
            return True
        return len(self.times) == len(SIZES) and self.times[-1] > FLOOR and self.exponent > MAX_EXPONENT

    def __str__(self) -> str:
        shown = ", ".join(f"{n // 1000}k {1000 * t:.1f} ms" for n, t in zip(SIZES, self.times, strict=False))
        return f"exponent {self.exponent:.2f}, {self.per_megabyte:.2f} s/MB ({shown})"


def slowness() -> float:
    """How many times as long as usual this machine takes now, at least 1; what else it does shows in CPU time too."""
    text, pattern = "a" * SIZES[-1], re.compile("a")
    return max(1.0, seconds(lambda text: sum(1 for _ in pattern.finditer(text)), text, 5) / USUAL_MATCHES)


def growth(
    call: Callable[[Any], object], make: Callable[[int], Any], repeats: int = 1, limit: float = MAX_SECONDS_PER_MB
) -> Growth:
    """Times at all lengths, or at fewer when the first ones are far from any limit or beyond all of them."""
    times: list[float] = []
    for size in SIZES:
        times.append(seconds(call, make(size), repeats))
        if times[-1] == math.inf:
            break
    return Growth(tuple(times), limit)


def suspicious(
    call: Callable[[Any], object], make: Callable[[int], Any], limit: float = MAX_SECONDS_PER_MB
) -> Growth | None:
    """The growth where it is bad each time that it is measured, with more repeats each time."""
    short, middle = 3000, SIZES[1]
    # what is endless shows on short attacks; what is fast there, or grows in step up to the next, costs no more
    if seconds(call, make(300), 1) == math.inf:
        return Growth((math.inf,))
    first = seconds(call, make(short), 2)
    if first < short * 3e-8:
        return None
    second = seconds(call, make(middle), 1)
    if second < first * (middle / short) ** 1.2 and second / middle * 1e6 < limit / 2:
        return None
    found = None
    for repeats in (1, 3, 5):
        found = growth(call, make, repeats, limit)
        if not found.bad:
            return None
    return found


def worst(
    use: Use,
    chosen: Sequence[tuple[str, str]],
    ends: Sequence[str],
    bound: int | None = None,
    never: re.Pattern[str] | None = None,
) -> str:
    """The first attack whose growth is bad, in words; "" when there is none.

    bound: most characters that the pattern is ever given; no attack is longer then. never: what its input never holds.
    """
    binary = isinstance(use.pattern.pattern, bytes)
    call = caller(use)
    for (prefix, unit), end in itertools.product(chosen, ends):

        def make(size: int, prefix: str = prefix, unit: str = unit, end: str = end) -> Any:
            text = hostile(prefix, unit, size, end)
            text = never.sub("", text) if never else text
            if use.engine == "re2":
                return text.encode("ascii", "replace")
            return text.encode("utf-8", "replace") if binary else text

        where = f"{use} on {prefix!r} + {unit!r} * n + {end!r}"
        if bound is None:
            found = suspicious(call, make)
            if found is not None:
                return f"{where}: {found}"
        elif (took := min(seconds(call, make(bound), 3) for _ in range(3))) > max(2e-4, bound * 1e-6):
            return f"{where}: {1e6 * took:.0f} microseconds for {bound} characters"
    return ""


def caller(use: Use) -> Callable[[Any], object]:
    """The call that the package makes."""
    pattern, method = use.pattern, use.method
    if use.engine == "re2":
        import re2

        compiled = re2.compile(pattern.pattern.encode())
        return lambda image: sum(1 for _ in compiled.finditer(image))
    if method == "finditer":
        return lambda text: sum(1 for _ in pattern.finditer(text))
    if method in ("sub", "subn"):
        return lambda text: pattern.sub(text[:0], text)
    return getattr(pattern, method)  # type: ignore[no-any-return]
