"""All metrics in one table; claims, timings; every figure again without training."""


rule write_cells:
    output:
        cells="<results>/cells.parquet",
    log:
        "<logs>/write_cells.log",
    localrule: True
    params:
        cells=sorted(settings.cells(SCENARIO), key=lambda row: (row["stage"], row["cell"])),  # however they are written
        version=VERSION["report"],
    script:
        "../scripts/write_cells.py"


rule collect_metrics:
    input:
        **{name: of_each_seed(side.stage, side.file) for name, side in SIDE_TABLES.items()},
        metrics=[
            *(metrics_file(*each) for each in settings.measured()),
            *of_each_seed("autoencoder", "losses"),
        ],
    output:
        **{name: f"<results>/{name}.parquet" for name in SIDE_TABLES},
        metrics="<results>/metrics.parquet",
    log:
        "<logs>/collect_metrics.log",
    localrule: True
    params:
        version=VERSION["report"],
    script:
        "../scripts/collect_metrics.py"


rule judge_claims:
    input:
        metrics=rules.collect_metrics.output.metrics,
        cells=rules.write_cells.output.cells,
        claims=found("config/claims.yaml"),
    output:
        claims="<results>/claims.parquet",
        markdown="<results>/claims.md",
        html=report(
            "<results>/claims.html",
            caption="../report/claims.rst",
            category="Claims",
            labels={"item": "claims", "kind": "page"},
        ),
    log:
        "<logs>/judge_claims.log",
    localrule: True
    params:
        scenario=SCENARIO,
        version=VERSION["report"],
    script:
        "../scripts/judge_claims.py"


rule plot_figure:
    input:
        table=lambda w: f"<results>/{figure_named(w.figure).table}.parquet",
        cells=rules.write_cells.output.cells,
    output:
        pdf="<results>/figures/{figure}.pdf",
        png="<results>/figures/{figure}.png",
        html=report(
            "<results>/figures/{figure}.html",
            caption="../report/figure.rst",
            category=lambda w: figure_named(w.figure).stage.capitalize(),
            labels=lambda w: {"item": figure_named(w.figure).item, "kind": "figure"},
        ),
    log:
        "<logs>/plot_figure/{figure}.log",
    localrule: True
    params:
        caption=lambda w: figure_named(w.figure).caption,
        shown=lambda w: shown_in(w.figure),
        version=VERSION["report"],
    script:
        "../scripts/plot_figure.py"


rule tabulate_timings:
    input:
        metrics=rules.collect_metrics.output.metrics,  # with the properties, all that benchmarked jobs are upstream of
        properties=[f"<results>/zoo/{name}/properties.parquet" for name in zoos_from("trained") if settings.zoos[name].measured],
    output:
        timings="<results>/timings.parquet",
        markdown="<results>/timings.md",
        html=report(
            "<results>/timings.html",
            caption="../report/timings.rst",
            category="Run",
            labels={"item": "timings", "kind": "page"},
        ),
    log:
        "<logs>/tabulate_timings.log",
    localrule: True
    params:
        benchmarks=f"results/{SCENARIO}/benchmarks",
        scenario=SCENARIO,
        version=VERSION["report"],
    script:
        "../scripts/tabulate_timings.py"


rule tell_recoveries:
    input:
        metrics=rules.collect_metrics.output.metrics,
        cells=rules.write_cells.output.cells,
    output:
        markdown="<results>/recoveries.md",
        html=report(
            "<results>/recoveries.html",
            caption="../report/recoveries.rst",
            category="Recovery",
            labels={"item": "what became of every teacher", "kind": "page"},
        ),
    log:
        "<logs>/tell_recoveries.log",
    localrule: True
    params:
        scenario=SCENARIO,
        version=VERSION["report"],
    script:
        "../scripts/tell_recoveries.py"
