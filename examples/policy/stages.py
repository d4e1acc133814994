"""Nine stages over a development plan. Each is called with the context, and returns metrics."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from dataclasses import replace
from statistics import mean

from pypdf import PdfReader

from checkpointdb.pipeline import Stage

from .context import Answer, Audit, BudgetLine, CausalLink, Mechanism, PipelineContext, Sentence
from .questions import DIMENSIONS, POINTS, all_questions

Metrics = dict[str, float]

SECTION = re.compile(r"^\d\. .*$", re.MULTILINE)
END_OF_SENTENCE = re.compile(r"(?<=\.)\s+(?=[A-ZÁÉÍÓÚÑ])")
WORD = re.compile(r"[a-záéíóúñü]{3,}|\d[\d.]*")
STOP_WORDS = {
    *("con", "del", "los", "las", "una", "que", "por", "para", "tiene", "son", "sus", "este"),
    *("entre", "cada", "durante", "más"),
}
CONNECTIVES = ["permitirá", "permitirán", "contribuirá a", "con el fin de", "debido a", "mediante"]
BACKWARDS = {"debido a", "mediante"}  # what follows these is the cause
KINDS = {
    "activity": ("construcción", "mejorarán", "formarán", "abrirán", "restauración", "creará"),
    "product": ("vías", "acueductos", "agua potable", "sedes", "sistema", "fuentes"),
}
AMOUNT = re.compile(r"programa (?P<programme>.+?) tiene \$ (?P<amount>[\d.]+) millones")
TOTAL = re.compile(r"total .*? \$ (?P<amount>[\d.]+) millones")


def document_extraction(context: PipelineContext) -> Metrics:
    """Read the PDF and cut it into sentences, each with its section and page."""
    context.pages = [page.extract_text() for page in PdfReader(context.pdf_path).pages]
    section = ""
    for number, page in enumerate(context.pages, 1):
        if found := SECTION.search(page):
            section = found.group()
            page = page[found.end() :]
        text = " ".join(page.split())
        context.sentences += [
            Sentence(section, number, each.strip()) for each in END_OF_SENTENCE.split(text)
        ]
    return {"pages": len(context.pages), "sentences": len(context.sentences)}


def semantic_analysis(context: PipelineContext) -> Metrics:
    """Find the terms of each sentence, and those that set a section apart (tf-idf)."""
    context.sentences = [replace(each, terms=terms_of(each.text)) for each in context.sentences]
    by_section: dict[str, Counter[str]] = defaultdict(Counter)
    for each in context.sentences:
        by_section[each.section].update(each.terms)
    spread = Counter(term for terms in by_section.values() for term in terms)
    for section, terms in by_section.items():
        weights = {
            term: count * math.log(1 + len(by_section) / spread[term])
            for term, count in terms.items()
        }
        context.key_terms[section] = sorted(weights, key=lambda term: (-weights[term], term))[:8]
    return {"terms": len(spread), "sections": len(by_section)}


def causal_extraction(context: PipelineContext) -> Metrics:
    """Find what is said to follow from what, by the connectives between."""
    for each in context.sentences:
        for connective in CONNECTIVES:
            before, found, after = each.text.partition(f" {connective} ")
            if found:
                cause, effect = before.strip(), after.strip(" .")
                if connective in BACKWARDS:
                    cause, effect = effect, cause
                context.causal_links.append(CausalLink(cause, effect, connective, each.page))
                break
    return {"links": len(context.causal_links)}


def mechanism_inference(context: PipelineContext) -> Metrics:
    """Chain the links whose effect shares two terms or more with another's cause."""
    for first in context.causal_links:
        steps = [first.cause, first.effect]
        rest = [each for each in context.causal_links if each is not first]
        while following := next((each for each in rest if follows(each, steps[-1])), None):
            rest.remove(following)
            steps.append(following.effect)
        if len(steps) > 2:
            context.mechanisms.append(Mechanism(tuple(steps), tuple(map(kind_of, steps))))
    longest = max((len(each.steps) for each in context.mechanisms), default=0)
    return {"mechanisms": len(context.mechanisms), "longest": longest}


def financial_audit(context: PipelineContext) -> Metrics:
    """Add the programmes up and compare with the total that the plan claims."""
    text = " ".join(each.text for each in context.sentences)
    lines = tuple(
        BudgetLine(found["programme"], millions(found["amount"])) for found in AMOUNT.finditer(text)
    )
    total = TOTAL.search(text)
    claimed = millions(total["amount"]) if total else 0.0
    difference = claimed - sum(each.millions for each in lines)
    context.audit = Audit(lines, claimed, difference)
    return {"programmes": len(lines), "difference_millions": difference}


def dnp_validation(context: PipelineContext) -> Metrics:
    """Check for what the national planning department asks of a plan."""
    sections = " ".join({each.section for each in context.sentences}).lower()
    text = " ".join(each.text for each in context.sentences).lower()
    context.validation = {
        "has a diagnosis": "diagnóstico" in sections,
        "has a strategic part": "estratégica" in sections,
        "has an investment plan": "inversiones" in sections,
        "has follow-up": "seguimiento" in sections,
        "has baselines and goals": "línea base" in text and "meta" in text,
        "its money adds up": context.audit is not None and not context.audit.difference_millions,
    }
    if context.es_municipio_pdet:
        context.validation["takes up the PDET pillars"] = "pilares pdet" in text
    return {"met": sum(context.validation.values()), "asked": len(context.validation)}


def question_answering(context: PipelineContext) -> Metrics:
    """Answer each question by the sentence that has most of the words wanted."""
    rarity = Counter(term for each in context.sentences for term in set(each.terms))
    for question in all_questions():
        wanted = set(terms_of(question.words))
        weights = {term: 1 / (1 + rarity[term]) for term in wanted}
        best, score = None, 0.0
        for each in context.sentences:
            found = sum(weights[term] for term in wanted & set(each.terms))
            if found > score:
                best, score = each, found
        share = score / sum(weights.values())
        said, page = (best.text, best.page) if best else ("", None)
        context.answers.append(Answer(question.id, question.text, said, round(share, 4), page))
    answered = sum(each.page is not None for each in context.answers)
    return {"questions": len(context.answers), "answered": answered}


def scoring(context: PipelineContext) -> Metrics:
    """Average the answers by point and by dimension."""
    for name in [*POINTS, *DIMENSIONS]:
        scores = [each.score for each in context.answers if name in each.question_id.split("-")]
        context.scores[name] = round(mean(scores), 4)
    return {"mean": mean(each.score for each in context.answers)}


def report_generation(context: PipelineContext) -> Metrics:
    """Write the report, in Markdown."""
    lines = [f"# {context.policy_code}", "", f"{len(context.sentences)} sentences.", ""]
    lines += ["## Requirements", ""]
    lines += [f"- [{'x' if met else ' '}] {name}" for name, met in context.validation.items()]
    if context.audit is not None:
        lines += ["", "## Money", "", "| programme | millions |", "|---|---|"]
        lines += [f"| {each.programme} | {each.millions:,.0f} |" for each in context.audit.lines]
        lines += [f"| not accounted for | {context.audit.difference_millions:,.0f} |"]
    lines += ["", "## Mechanisms", ""]
    lines += ["- " + " → ".join(each.steps) for each in context.mechanisms]
    lines += ["", "## Scores", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {score:.2f} |" for name, score in context.scores.items()]
    context.report = "\n".join(lines) + "\n"
    return {"lines": len(lines)}


STAGES = tuple(
    Stage(function, version="1")
    for function in (
        document_extraction,
        semantic_analysis,
        causal_extraction,
        mechanism_inference,
        financial_audit,
        dnp_validation,
        question_answering,
        scoring,
        report_generation,
    )
)


def terms_of(text: str) -> tuple[str, ...]:
    return tuple(word for word in WORD.findall(text.lower()) if word not in STOP_WORDS)


def follows(link: CausalLink, effect: str) -> bool:
    return len(set(terms_of(link.cause)) & set(terms_of(effect))) >= 2


def kind_of(step: str) -> str:
    for kind, words in KINDS.items():
        if any(word in step.lower() for word in words):
            return kind
    return "result"


def millions(amount: str) -> float:
    return float(amount.replace(".", ""))
