"""What the stages hand on to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Sentence:
    """A sentence of the plan, by the section and the page that it stands in."""

    section: str
    page: int
    text: str
    terms: tuple[str, ...] = ()


@dataclass(frozen=True)
class CausalLink:
    """What the plan says to follow from what."""

    cause: str
    effect: str
    connective: str
    page: int


@dataclass(frozen=True)
class Mechanism:
    """Links that follow upon one another, from what is done to what is to come of it."""

    steps: tuple[str, ...]
    kinds: tuple[str, ...]  # activity, product, result


@dataclass(frozen=True)
class BudgetLine:
    """A programme and its money, in millions of pesos."""

    programme: str
    millions: float


@dataclass(frozen=True)
class Audit:
    """Whether the programmes add up to what the plan claims."""

    lines: tuple[BudgetLine, ...]
    claimed_millions: float
    difference_millions: float


@dataclass(frozen=True)
class Answer:
    """What the plan says to a question, how well, and where."""

    question_id: str
    question: str
    answer: str
    score: float
    page: int | None


@dataclass
class PipelineContext:
    """The state of an analysis: each field is a key of its checkpoints."""

    pdf_path: Path
    policy_code: str
    es_municipio_pdet: bool = False
    pages: list[str] = field(default_factory=list)
    sentences: list[Sentence] = field(default_factory=list)
    key_terms: dict[str, list[str]] = field(default_factory=dict)
    causal_links: list[CausalLink] = field(default_factory=list)
    mechanisms: list[Mechanism] = field(default_factory=list)
    audit: Audit | None = None
    validation: dict[str, bool] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    report: str = ""
