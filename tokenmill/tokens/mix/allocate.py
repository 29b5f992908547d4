"""How many tokens a stage takes of what: exact arithmetic, so that shares add up to the token."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from typing import TypeVar

from tokenmill.core.errors import ConfigError
from tokenmill.tokens.mix.select import Atom
from tokenmill.tokens.mix.spec import MixtureStage, Upweight, exactly

Key = TypeVar("Key", bound=Hashable)


def apportion(total: int, weights: Mapping[Key, Fraction | int]) -> dict[Key, int]:
    """`total` in whole numbers in proportion to weights, adding up exactly: the largest remainder method.

    Each is the exact share rounded down or up; equal remainders go to those that come first. ValueError where all
    weights are 0.
    """
    whole = sum((Fraction(weight) for weight in weights.values()), Fraction(0))
    if whole <= 0:
        raise ValueError("all weights are 0")
    exact = {key: total * Fraction(weight) / whole for key, weight in weights.items()}
    found = {key: share.numerator // share.denominator for key, share in exact.items()}
    by_rest = sorted(exact, key=lambda key: found[key] - exact[key])  # stable
    for key in by_rest[: total - sum(found.values())]:
        found[key] += 1
    return found


def stage_tokens(stage: MixtureStage, unique: Mapping[Atom, int]) -> int:
    """Tokens of a stage: as many as asked for, else those of its sources once."""
    return stage.tokens if stage.tokens is not None else sum(unique.values())


def allocate(stage: MixtureStage, unique: Mapping[Atom, int]) -> dict[Atom, int]:
    """Tokens that a stage takes of each stream, adding up to those of the stage.

    unique: tokens of each stream, EOS included. Sources by their weights; within a source, values of a tag as asked
    for; and within these, streams in proportion to their unique tokens. ConfigError where nothing is there to take.
    """
    total = stage_tokens(stage, unique)
    of_source: dict[str, dict[Atom, int]] = {}
    for atom, tokens in unique.items():
        of_source.setdefault(atom.source, {})[atom] = tokens
    sums = {source: sum(atoms.values()) for source, atoms in of_source.items()}
    weights = {source: exactly(weight) for source, weight in stage.weights.items()}
    if not total or not any(sums.values()):
        raise ConfigError(f"stage {stage.name} has nothing to take: its sources hold no tokens")
    found: dict[Atom, int] = {}
    for source, tokens in apportion(total, weights or sums).items():
        atoms = of_source[source]
        for group, share in _groups(stage, source, atoms, tokens):
            have = sum(atoms[atom] for atom in group)
            if share and not have:
                raise ConfigError(
                    f"stage {stage.name} takes {share:,} tokens of {' and '.join(atom.name for atom in group)}",
                    why="no document of the sets is one of these",
                    fix="look at `where` and `upweight` of the source, or leave it out of the stage",
                )
            found |= apportion(share, {atom: atoms[atom] for atom in group}) if have else dict.fromkeys(group, 0)
    return {atom: found.get(atom, 0) for atom in unique}


def _groups(
    stage: MixtureStage, source: str, atoms: Mapping[Atom, int], tokens: int
) -> Sequence[tuple[Sequence[Atom], int]]:
    """(streams, tokens of them together) of a source: one group, or those that `upweight` tells apart."""
    upweight = stage.upweight.get(source)
    if upweight is None:
        return [(list(atoms), tokens)]
    groups: dict[str | None, list[Atom]] = {value: [] for value in (*upweight.values, None)}
    for atom in atoms:
        value = dict(atom.values)[upweight.by]
        groups[value if value in upweight.values else None].append(atom)
    natural = {value: sum(atoms[atom] for atom in members) for value, members in groups.items()}
    shares = upweighted(upweight, natural, f"stage {stage.name}, upweight of {source}")
    return [(groups[value], share) for value, share in apportion(tokens, shares).items()]


def upweighted(upweight: Upweight, natural: Mapping[str | None, int], where: str) -> dict[str | None, Fraction]:
    """The share of each value of a tag, None being all others, that adds up to 1.

    natural: unique tokens by value. ConfigError where factors ask for more than everything.
    """
    whole = max(1, sum(natural.values()))
    shares: dict[str | None, Fraction]
    if upweight.to:
        shares = {value: exactly(share) for value, share in upweight.to.items()}
    else:
        shares = {value: exactly(factor) * natural[value] / whole for value, factor in upweight.times.items()}
    rest = 1 - sum(shares.values())
    if rest < 0:
        told = ", ".join(f"{value} has {natural[value] / whole:.2%}" for value in shares)
        raise ConfigError(
            f"the factors ask for {float(1 - rest):.2%} of the source", where=where, why=told, fix="take smaller ones"
        )
    shares[None] = Fraction(rest)
    return shares
