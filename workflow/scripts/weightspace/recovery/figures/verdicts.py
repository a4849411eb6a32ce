"""Page recoveries: what became of every teacher, in words."""

import pandas as pd

from weightspace.recovery.verdict import RECOVERED, judged_teachers, sentence, summary
from weightspace.report.pages import Page

MOST_SENTENCES = 5  # of one recovery and seed


def verdicts_page(rows: pd.DataFrame, scenario: str) -> Page:
    """One row per recovery and seed: how many teachers were recovered, and a sentence on each of the others."""
    own = rows[rows["stage"] == "recovery"]
    table = [_line(group) for _, group in own.groupby(["cell", "seed"], sort=False)]
    notes = [
        "Error: root mean squared, on held-out inputs, over the deviation of the teacher's answers. Recovered: every unit found "
        "and none in excess; of a black box, equal answers by units that students agree in. Same answers, not unique: equal "
        "answers by other units. Not representable: other answers, where the layers are known to differ from the teacher's."
    ]
    lead = f"{len(table)} recoveries, one per cell and seed."
    return Page(f"Recoveries, scenario {scenario}", lead, ["recovery", "seed", "teachers", "not recovered"], table, notes)


def _line(rows: pd.DataFrame) -> list[str]:
    judged = judged_teachers(rows.to_dict("records"))
    others = [sentence(subject, measures) for subject, measures in judged.items() if measures["verdict"] != RECOVERED]
    if len(others) > MOST_SENTENCES:
        others[MOST_SENTENCES:] = [f"and {len(others) - MOST_SENTENCES} more"]
    return [rows["label"].iloc[0], str(rows["seed"].iloc[0]), summary(judged), " ".join(others)]
