"""Figures from tables that are already there; a full run kept as the reference."""


# No inputs and no outputs: it always runs, and nothing that changed elsewhere can make it train.
# (Snakemake fills in <results> in inputs and outputs, not in params.)
rule regenerate_figures:
    log:
        "<logs>/regenerate_figures.log",
    localrule: True
    params:
        table=f"results/{SCENARIO}/metrics.parquet",
        reference=found(f"results/reference/{SCENARIO}/metrics.parquet"),
        claims=found("config/claims.yaml"),
        folder=f"results/{SCENARIO}",
        scenario=SCENARIO,
        shown={name: shown_in(name) for name in settings.figures},
        only=[name for name in options.figures.split(",") if name],
    script:
        "../scripts/regenerate_figures.py"


rule keep_reference:
    input:
        rules.tabulate_timings.output,
        collect("<results>/figures/{figure}.png", figure=[*settings.figure_names, "claims"]),
        cells=rules.write_cells.output.cells,
        metrics=rules.collect_metrics.output.metrics,
    log:
        "<logs>/keep_reference.log",
    localrule: True
    params:
        reference=f"results/reference/{SCENARIO}",
    script:
        "../scripts/keep_reference.py"
