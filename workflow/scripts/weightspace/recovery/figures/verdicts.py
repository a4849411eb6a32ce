"""Page recoveries: what became of every teacher, in words."""

import pandas as pd

from weightspace.recovery.verdict import sentences
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
    *told, summary = sentences(rows.to_dict("records"))
    others = [sentence for sentence in told if ": recovered:" not in sentence]
    left_out = f"and {len(others) - MOST_SENTENCES} more" if len(others) > MOST_SENTENCES else ""
    return [rows["label"].iloc[0], str(rows["seed"].iloc[0]), summary, " ".join([*others[:MOST_SENTENCES], left_out]).strip()]
