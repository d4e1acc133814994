"""Three hundred questions: ten policy points, six dimensions of each, five questions of each."""

from __future__ import annotations

from typing import NamedTuple

POINTS = {
    "P1": "mujeres igualdad género ingresos",
    "P2": "víctimas conflicto reparación memoria",
    "P3": "bosque agua fuentes cambio climático ambiente",
    "P4": "acueducto agua potable vías salud hogares",
    "P5": "derechos humanos justicia homicidios convivencia",
    "P6": "jóvenes niños escuela educación secundaria",
    "P7": "tierra propiedad rural veredas PDET",
    "P8": "líderes sociales defensores protección amenazas",
    "P9": "personas privadas libertad formación trabajo",
    "P10": "población migrante acceso salud educación",
}
DIMENSIONS = {
    "D1": ("diagnóstico", "por ciento línea base personas casos habitantes"),
    "D2": ("actividades", "construcción formarán mejorarán abrirán creará"),
    "D3": ("productos", "kilómetros hogares sedes hectáreas sistema programa millones"),
    "D4": ("resultados", "meta cobertura reducir aumentar 2027"),
    "D5": ("impactos", "contribuirá igualdad adaptación permitirá"),
    "D6": ("causalidad", "permitirá mediante fin debido contribuirá"),
}
FORMS = {
    "Q1": ("¿Qué dice el plan sobre", ""),
    "Q2": ("¿Con qué cifras se expresa", "por ciento millones casos"),
    "Q3": ("¿Quién es responsable de", "dependencia municipio concejo responsable"),
    "Q4": ("¿Con qué recursos cuenta", "programa millones recursos inversiones"),
    "Q5": ("¿Cómo se hará seguimiento a", "seguimiento indicador meta tablero evaluará"),
}


class Question(NamedTuple):
    """One of them, and the words that an answer should have."""

    id: str
    point: str
    dimension: str
    text: str
    words: str


def all_questions() -> list[Question]:
    """Return them in their order: P1-D1-Q1 to P10-D6-Q5."""
    return [
        Question(
            f"{point}-{dimension}-{form}",
            point,
            dimension,
            f"{begins} {name} de {about.split()[0]}?",
            f"{about} {expected} {wanted}",
        )
        for point, about in POINTS.items()
        for dimension, (name, expected) in DIMENSIONS.items()
        for form, (begins, wanted) in FORMS.items()
    ]
