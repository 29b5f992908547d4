"""Pages of a closed vocabulary, on which tiny models are trained and tested: names, numbers, dates, a topic each."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from itertools import pairwise

TOPICS = ("garden", "harbour", "railway", "bakery", "museum", "forest", "bridge", "library")
FIRST = ("Anna", "Peter", "Clara", "Martin", "Julia", "Thomas", "Helen", "Victor", "Laura", "Simon")
LAST = ("Weber", "Novak", "Rossi", "Larsen", "Dubois", "Moreno", "Keller", "Fischer", "Tanaka", "Silva")
CITIES = ("Lisbon", "Vienna", "Dublin", "Oslo", "Prague", "Geneva", "Turin", "Porto", "Ghent", "Krakow")
MONTHS = ("January", "February", "March", "April", "May", "June")
DAYS = (3, 5, 7, 9, 13, 15, 17, 19)
YEARS = tuple(range(1861, 1921, 2))
COUNTS = tuple(range(25, 955, 30))
"""Numbers of pages are odd, and months those of half a year, so that a model which invents others has words of its own
for what it says."""
ADJECTIVES = ("old", "quiet", "small", "famous", "modern", "wooden", "narrow", "busy", "green", "public")
NOUNS = ("house", "market", "river", "school", "tower", "square", "station", "hotel", "farm", "church")
VERBS = ("visited", "opened", "painted", "described", "repaired", "sold", "bought", "studied", "closed", "admired")
PLURALS = ("letters", "visitors", "trees", "books", "boats", "stones", "lamps", "windows", "children", "workers")
ADVERBS = ("slowly", "often", "gladly", "again", "carefully", "early", "together", "quickly", "later", "alone")

PATTERNS = (
    "On {day} {month} {year} {name} {verb} the {adj} {topic} near {city}.",
    "Every {adj} {noun} of {city} has {count} {plural} and one {adj2} {noun2}.",
    "{name} {adverb} {verb} {count} {plural} behind the {noun}.",
    "During {year} the {topic} was {verb} by {name}, who came from {city}.",
    "About {count} {plural} stand beside the {adj} {noun} in {month}.",
    "Some {plural} were {adverb} {verb} at the {noun} between {city} and {city2}.",
    "Nobody knows why {name} {verb} this {adj} {topic} with {count} {plural}.",
    "After {month} {year} most {plural} of the {topic} {adverb} went to {city}.",
)


@dataclass(frozen=True)
class Page:
    text: str
    topic: str


def words() -> list[str]:
    """All words that pages are made of, once each."""
    fixed = [word for pattern in PATTERNS for word in pattern.split() if "{" not in word]
    lists = (TOPICS, FIRST, LAST, CITIES, MONTHS, ADJECTIVES, NOUNS, VERBS, PLURALS, ADVERBS)
    every = [word.strip(".,") for word in fixed] + [word for one in lists for word in one]
    return list(dict.fromkeys(every))


def page(seed: int, sentences: tuple[int, int] = (2, 5)) -> Page:
    """The page of a seed: 1 to 5 sentences of different forms, in paragraphs.

    No two neighbouring words or digits stand there twice, so that what comes next is always said by the last two: that
    is what a model of two layers can look up.
    """
    for attempt in range(1000):
        draw = random.Random(f"page {seed} {attempt}")
        topic = draw.choice(TOPICS)
        made = [_sentence(draw, pattern, topic) for pattern in draw.sample(PATTERNS, draw.randint(*sentences))]
        units = re.findall(r"[0-9]|[^\W0-9]+|[^\w\s]", " ".join(made))
        if len(set(pairwise(units))) == len(units) - 1:
            return Page("".join(one + draw.choice((" ", " ", "\n\n")) for one in made).strip(), topic)
    raise AssertionError(f"no page for the seed {seed}")


def _sentence(draw: random.Random, pattern: str, topic: str) -> str:
    def two(items: tuple[str, ...]) -> list[str]:
        return draw.sample(items, 2)

    (adj, adj2), (noun, noun2), (city, city2) = two(ADJECTIVES), two(NOUNS), two(CITIES)
    return pattern.format(
        adj=adj, adj2=adj2, noun=noun, noun2=noun2, city=city, city2=city2, topic=topic,
        verb=draw.choice(VERBS), adverb=draw.choice(ADVERBS), plural=draw.choice(PLURALS), month=draw.choice(MONTHS),
        name=f"{draw.choice(FIRST)} {draw.choice(LAST)}", day=draw.choice(DAYS), year=draw.choice(YEARS),
        count=draw.choice(COUNTS),
    )  # fmt: skip
