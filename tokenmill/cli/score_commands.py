"""Commands for models: labels, training, thresholds and bins of scores."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Optional

import typer

from tokenmill.cli.options import AllowHttpOption, JsonOption

scores = typer.Typer()


class Weight(StrEnum):
    """What a document counts for."""

    bytes = "bytes"
    tokens = "tokens"
    documents = "documents"


class LinkLevel(StrEnum):
    """What of an address must be named."""

    url = "url"
    host = "host"
    domain = "domain"


class Allocation(StrEnum):
    """How many documents of each stratum are drawn."""

    equal = "equal"
    proportional = "proportional"


@scores.command()
def threshold(
    run: Annotated[str, typer.Argument(help="folder of a run whose documents have scores")],
    score: Annotated[str, typer.Option("--score", help="column with the score, such as edu_score")],
    keep: Annotated[
        str, typer.Option("--keep", help="12%-of-tokens, 12%-of-documents, 12%-of-bytes, 1.3e12-tokens, 1.3T-tokens")
    ],
    per: Annotated[
        Optional[str], typer.Option("--per", help="ask it of every language, domain, or value of a column of strings")
    ] = None,
    by: Annotated[
        Optional[list[str]], typer.Option("--by", help="one more column whose shares are told (repeatable)")
    ] = None,
    without: Annotated[
        Optional[list[str]], typer.Option("--without", help="a filter whose verdict is left aside too (repeatable)")
    ] = None,
    examples: Annotated[int, typer.Option("--examples", help="pages shown on either side of the threshold")] = 3,
    top: Annotated[int, typer.Option("--top", help="values shown of each column")] = 20,
    min_group: Annotated[
        int, typer.Option("--min-group", help="fewer documents with a score have no threshold of their own")
    ] = 100,
    write: Annotated[
        Optional[str], typer.Option("--write", help="YAML file of the thresholds per group, for ScoreFilter")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Which score keeps so many tokens, and what is gained and lost by it? Nothing is changed."""
    from tokenmill.cli.threshold import show_threshold

    show_threshold(
        run,
        score=score,
        keep=keep,
        per=per,
        by=tuple(by or ()),
        without=tuple(without or ()),
        examples=examples,
        top=top,
        least_group=min_group,
        write=write,
        as_json=json,
    )


@scores.command()
def bins(
    run: Annotated[str, typer.Argument(help="folder of a run whose documents have scores")],
    score: Annotated[list[str], typer.Option("--score", help="column with a score (repeatable)")],
    write: Annotated[str, typer.Option("--write", help="YAML file of the edges, for ScoreBins")],
    bins: Annotated[int, typer.Option("--bins", help="how many")] = 20,
    weight: Annotated[Weight, typer.Option("--weight", help="what each bin holds an equal share of")] = Weight.bytes,
) -> None:
    """Cut scores into bins of equal weight, so that those of different models can be compared (Nemotron-CC)."""
    from tokenmill.cli.bins import make_bins

    make_bins(run, score, write, bins=bins, weight=weight.value)


@scores.command()
def label(
    input: Annotated[str, typer.Argument(help="folder of a run, or any Parquet or JSON Lines")],
    output: Annotated[str, typer.Option("--output", help="folder of the labels; a labelling in it is resumed")],
    rubric: Annotated[
        str, typer.Option("--rubric", help="educational, quality, nsfw_toxicity, topic, format, or a .yaml")
    ],
    model: Annotated[str, typer.Option("--model", help="name of the model at the endpoint")],
    base_url: Annotated[str, typer.Option("--base-url", help="OpenAI-compatible endpoint, up to and with /v1")],
    documents: Annotated[int, typer.Option("--documents", help="how many documents are drawn")],
    strata: Annotated[
        Optional[str], typer.Option("--strata", help="column whose values, or bins, are the strata")
    ] = None,
    edges: Annotated[str, typer.Option("--edges", help="edges of bins of that column: 0.5,1.5,2.5")] = "",
    allocation: Annotated[
        Allocation, typer.Option("--allocation", help="as many of each stratum, or by their sizes")
    ] = Allocation.equal,
    id_column: Annotated[str, typer.Option("--id-column", help="column with the identifier")] = "id",
    text_column: Annotated[str, typer.Option("--text-column", help="column with the text")] = "text",
    min_chars: Annotated[int, typer.Option("--min-chars", help="shorter texts are left out")] = 1,
    passes: Annotated[int, typer.Option("--passes", help="times that each document is asked, in other orders")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="of the sample and of the orders of choices")] = 0,
    concurrency: Annotated[int, typer.Option("--concurrency", help="requests under way at once")] = 16,
    max_chars: Annotated[int, typer.Option("--max-chars", help="characters of a text that the model sees")] = 4000,
    sampling: Annotated[
        Optional[list[str]],
        typer.Option("--sampling", help="name=value sent with every request; null removes (repeatable)"),
    ] = None,
    api_key_env: Annotated[
        Optional[str], typer.Option("--api-key-env", help="variable with the API key (OPENAI_API_KEY)")
    ] = None,
    allow_http: AllowHttpOption = False,
    timeout: Annotated[float, typer.Option("--timeout", help="seconds for one request")] = 120.0,
    tries: Annotated[int, typer.Option("--tries", help="failures in a row after which a request is given up")] = 8,
    price_in: Annotated[float, typer.Option("--price-in", help="US dollars for a million tokens of prompts")] = 0.0,
    price_out: Annotated[float, typer.Option("--price-out", help="US dollars for a million tokens of answers")] = 0.0,
    max_cost: Annotated[Optional[float], typer.Option("--max-cost", help="US dollars at which the run stops")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="ask again what has failed for good")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="estimate requests, tokens and dollars; ask nothing")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Label a sample of documents with a language model after a rubric. Run it again to resume."""
    from tokenmill.cli.label import label_documents

    label_documents(
        input,
        output,
        rubric=rubric,
        model=model,
        base_url=base_url,
        documents=documents,
        strata=strata,
        edges=edges,
        allocation=allocation.value,
        id_column=id_column,
        text_column=text_column,
        min_chars=min_chars,
        passes=passes,
        seed=seed,
        concurrency=concurrency,
        max_chars=max_chars,
        sampling=tuple(sampling or ()),
        api_key_env=api_key_env,
        allow_http=allow_http,
        timeout=timeout,
        tries=tries,
        price_in=price_in,
        price_out=price_out,
        max_cost=max_cost,
        retry_failed=retry_failed,
        dry_run=dry_run,
        as_json=json,
    )


@scores.command("training-set")
def training_set(
    out: Annotated[str, typer.Option("--out", help="file to write (.parquet); the facts go to the .json beside it")],
    positive: Annotated[
        Optional[list[str]], typer.Option("--positive", help="texts that are known to be good (repeatable)")
    ] = None,
    negative: Annotated[str, typer.Option("--negative", help="a run whose random documents are the negatives")] = "",
    linked_from: Annotated[
        str, typer.Option("--linked-from", help="reference set: pages of --negative that it links to are the positives")
    ] = "",
    source: Annotated[
        Optional[list[str]], typer.Option("--source", help="label=path, for two classes or more (repeatable)")
    ] = None,
    level: Annotated[
        LinkLevel, typer.Option("--level", help="what of an address --linked-from must name")
    ] = LinkLevel.url,
    links_column: Annotated[str, typer.Option("--links-column", help="of a reference set that is a table")] = "links",
    text_column: Annotated[
        Optional[list[str]], typer.Option("--text-column", help="repeated: joined by newlines; a.b: field of a list")
    ] = None,
    id_column: Annotated[str, typer.Option("--id-column")] = "id",
    url_column: Annotated[str, typer.Option("--url-column")] = "url",
    lines: Annotated[bool, typer.Option("--lines", help="plain text: each line is a document")] = False,
    min_chars: Annotated[int, typer.Option("--min-chars", help="shorter texts are left out")] = 1,
    documents: Annotated[int, typer.Option("--documents", help="texts of each class at most")] = 200_000,
    balanced: Annotated[bool, typer.Option("--balanced/--no-balanced", help="as many of each class")] = True,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    positive_label: Annotated[str, typer.Option("--positive-label")] = "hq",
    negative_label: Annotated[str, typer.Option("--negative-label")] = "cc",
    as_json: Annotated[bool, typer.Option("--json", help="print the facts as JSON")] = False,
) -> None:
    """Draw labelled texts for a quality classifier: given positives, linked pages, or any sources."""
    from tokenmill.classifiers.corpus.build import SetSettings
    from tokenmill.cli.training_set import make_training_set

    settings = SetSettings(
        sources=tuple(source or ()),
        positives=tuple(positive or ()),
        negative=negative,
        linked_from=linked_from,
        level=level.value,
        links_column=links_column,
        text_columns=tuple(text_column or ("text",)),
        id_column=id_column,
        url_column=url_column,
        lines=lines,
        min_chars=min_chars,
        documents=documents,
        balanced=balanced,
        seed=seed,
        positive_label=positive_label,
        negative_label=negative_label,
    )
    make_training_set(out, settings, as_json=as_json)


@scores.command("train-classifier")
def train_classifier(
    labels: Annotated[str, typer.Argument(help="labelled documents: Parquet or JSON Lines")],
    output: Annotated[str, typer.Argument(help="folder of the model, new")],
    label: Annotated[str, typer.Option("--label", help="column with the labels")],
    kind: Annotated[str, typer.Option("--kind", help="head (on a frozen encoder), finetune or fasttext")] = "head",
    problem: Annotated[str, typer.Option("--problem", help="ordinal (grades from 0), classes or binary")] = "ordinal",
    encoder: Annotated[str, typer.Option("--encoder", help="folder or hub id of the encoder")] = "",
    text: Annotated[str, typer.Option("--text", help="column with the texts")] = "text",
    group: Annotated[
        str,
        typer.Option(
            "--group", help="column that keeps documents together (id: each alone); without it the host of `url`"
        ),
    ] = "",
    pick: Annotated[str, typer.Option("--pick", help="macro_f1, worst_f1 or qwk; auto: by the problem")] = "auto",
    compare: Annotated[
        Optional[list[str]], typer.Option("--compare", help="column with another score, for the card (repeatable)")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="column whose values the card tells apart")] = "",
    threshold: Annotated[int, typer.Option("--threshold", help="grade from which a document counts as good")] = 3,
    label_agreement: Annotated[
        str, typer.Option("--label-agreement", help="kappas of the labels with themselves, for the card: 0.91,0.94")
    ] = "",
    labelled_by: Annotated[str, typer.Option("--labelled-by", help="who gave the labels, for the card")] = (
        "a language model"
    ),
    seed: Annotated[int, typer.Option("--seed")] = 0,
    max_tokens: Annotated[Optional[int], typer.Option("--max-tokens", help="tokens of a text that are read")] = None,
    copy_encoder: Annotated[bool, typer.Option("--copy-encoder", help="copy the encoder into the folder")] = False,
    set: Annotated[
        Optional[list[str]], typer.Option("--set", help="folds=10, finetune.epochs=2, fasttext.dim=100 (repeatable)")
    ] = None,
) -> None:
    """Train a classifier, cross-validate it by host, and write its folder with a card."""
    from tokenmill.cli.train_classifier import train_from_labels

    train_from_labels(
        labels,
        output,
        label=label,
        kind=kind,
        problem=problem,
        encoder=encoder,
        text=text,
        group=group,
        pick=pick,
        compare=compare or (),
        split=split,
        threshold=threshold,
        label_agreement=label_agreement,
        labelled_by=labelled_by,
        seed=seed,
        max_tokens=max_tokens,
        copy_encoder=copy_encoder,
        options=set or (),
    )
