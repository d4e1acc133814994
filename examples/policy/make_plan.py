"""How `plan.pdf` was made: python -m examples.policy.make_plan. The municipality is invented."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from fpdf import FPDF

PDF = Path(__file__).with_name("plan.pdf")
TITLE = "Plan de Desarrollo Municipal 2024-2027"
SECTIONS: dict[str, list[str]] = {
    "1. Diagnóstico": [
        "El municipio tiene 48.200 habitantes y el 61 por ciento vive en la zona rural.",
        "La cobertura de acueducto rural es del 43 por ciento y la de alcantarillado es menor.",
        "La pobreza multidimensional aumentó debido a la falta de agua potable en las veredas.",
        "Las mujeres rurales reciben la mitad de los ingresos de los hombres.",
        "Las víctimas del conflicto armado suman 9.700 personas registradas.",
        "Los jóvenes abandonan la escuela debido a la distancia entre las veredas y los colegios.",
        "La deforestación redujo el bosque en 1.150 hectáreas durante los últimos cuatro años.",
        "Los líderes sociales y defensores de derechos humanos recibieron 37 amenazas.",
        "La línea base de homicidios es de 31 casos por cada cien mil habitantes.",
    ],
    "2. Parte estratégica": [
        "La construcción de acueductos veredales permitirá llevar agua potable a 6.000 hogares.",
        "El agua potable en los hogares permitirá reducir las enfermedades de los niños.",
        "Se mejorarán 84 kilómetros de vías terciarias con el fin de conectar las veredas.",
        "Las vías terciarias en buen estado permitirán vender las cosechas en la cabecera.",
        "La meta de cobertura de acueducto rural es del 70 por ciento en 2027.",
        "Se formarán 1.200 mujeres rurales con el fin de aumentar sus ingresos.",
        "El aumento de los ingresos de las mujeres contribuirá a la igualdad de género.",
        "Se abrirán tres sedes educativas con el fin de que los jóvenes terminen la secundaria.",
        "La atención a las víctimas incluirá reparación colectiva y acompañamiento psicosocial.",
        "Se creará un sistema de protección de líderes sociales mediante rutas de alerta temprana.",
        "La restauración de 800 hectáreas de bosque permitirá proteger las fuentes de agua.",
        "La protección de las fuentes de agua contribuirá a la adaptación al cambio climático.",
        "El fortalecimiento de la justicia local mediante conciliadores reducirá los homicidios.",
        "La meta de homicidios es de 20 casos por cada cien mil habitantes en 2027.",
        "La población migrante tendrá acceso a salud y a educación.",
        "Las personas privadas de la libertad recibirán formación para el trabajo.",
        "El plan incorpora los pilares PDET de ordenamiento social de la propiedad rural.",
        "Los pueblos indígenas y afrocolombianos participarán mediante consulta en las decisiones.",
    ],
    "3. Plan plurianual de inversiones": [
        "El programa Agua para el campo tiene $ 18.400 millones.",
        "El programa Vías que unen tiene $ 22.750 millones.",
        "El programa Mujeres con futuro tiene $ 3.200 millones.",
        "El programa Educación cerca de casa tiene $ 9.800 millones.",
        "El programa Reparación y memoria tiene $ 4.150 millones.",
        "El programa Bosque vivo tiene $ 5.600 millones.",
        "El programa Justicia y convivencia tiene $ 2.900 millones.",
        "El total de las inversiones es de $ 67.300 millones.",
        "Los recursos provienen del Sistema General de Participaciones y de regalías.",
    ],
    "4. Seguimiento y evaluación": [
        "Cada indicador tiene una línea base, una meta y una dependencia responsable.",
        "El tablero de seguimiento se publicará cada tres meses con el fin de rendir cuentas.",
        "El Concejo Territorial de Planeación evaluará los avances cada año.",
        "La participación ciudadana permitirá corregir los programas que no avanzan.",
    ],
}


def main() -> None:
    pdf = FPDF()
    pdf.set_creation_date(datetime(2024, 5, 31, tzinfo=UTC))  # so that the file is always the same
    pdf.set_title(TITLE)
    for number, (section, sentences) in enumerate(SECTIONS.items()):
        pdf.add_page()
        if not number:
            pdf.set_font("Helvetica", "B", 18)
            pdf.multi_cell(0, 12, TITLE, new_x="LMARGIN", new_y="NEXT")
        pdf.set_font("Helvetica", "B", 14)
        pdf.multi_cell(0, 10, section, new_x="LMARGIN", new_y="NEXT")
        pdf.set_font("Helvetica", size=11)
        for sentence in sentences:
            pdf.multi_cell(0, 7, sentence, new_x="LMARGIN", new_y="NEXT")
    pdf.output(str(PDF))


if __name__ == "__main__":
    main()
