"""One rule per figure of predictors, each from one table of the scenario."""

if settings.predictors:
    FIGURES += ["predictor_rate", "predictor_error", "predictor_rounds", "predictor_spectra", "predictor_kernels"]


rule plot_predictor_rate:
    input:
        metrics=rules.collect_metrics.output.metrics,
    output:
        pdf="<results>/figures/predictor_rate.pdf",
        png=report(
            "<results>/figures/predictor_rate.png",
            caption="../report/predictor_rate.rst",
            category="Predictors",
            labels={"item": "accuracy and bytes", "kind": "figure"},
        ),
    log:
        "<logs>/plot_predictor_rate.log",
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        version=VERSION["report"],
    script:
        "../scripts/plot_predictor_rate.py"


rule plot_predictor_error:
    input:
        metrics=rules.collect_metrics.output.metrics,
    output:
        pdf="<results>/figures/predictor_error.pdf",
        png=report(
            "<results>/figures/predictor_error.png",
            caption="../report/predictor_error.rst",
            category="Predictors",
            labels={"item": "accuracy and error", "kind": "figure"},
        ),
    log:
        "<logs>/plot_predictor_error.log",
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        version=VERSION["report"],
    script:
        "../scripts/plot_predictor_error.py"


rule plot_predictor_rounds:
    input:
        metrics=rules.collect_metrics.output.metrics,
    output:
        pdf="<results>/figures/predictor_rounds.pdf",
        png=report(
            "<results>/figures/predictor_rounds.png",
            caption="../report/predictor_rounds.rst",
            category="Predictors",
            labels={"item": "progressive rounds", "kind": "figure"},
        ),
    log:
        "<logs>/plot_predictor_rounds.log",
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        version=VERSION["report"],
    script:
        "../scripts/plot_predictor_rounds.py"


rule plot_predictor_spectra:
    input:
        spectra=rules.collect_metrics.output.predictor_spectra,
    output:
        pdf="<results>/figures/predictor_spectra.pdf",
        png=report(
            "<results>/figures/predictor_spectra.png",
            caption="../report/predictor_spectra.rst",
            category="Predictors",
            labels={"item": "singular values", "kind": "figure"},
        ),
    log:
        "<logs>/plot_predictor_spectra.log",
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        version=VERSION["report"],
    script:
        "../scripts/plot_predictor_spectra.py"


rule plot_predictor_kernels:
    input:
        kernels=rules.collect_metrics.output.predictor_kernels,
    output:
        pdf="<results>/figures/predictor_kernels.pdf",
        png=report(
            "<results>/figures/predictor_kernels.png",
            caption="../report/predictor_kernels.rst",
            category="Predictors",
            labels={"item": "kernels", "kind": "figure"},
        ),
    log:
        "<logs>/plot_predictor_kernels.log",
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        version=VERSION["report"],
    script:
        "../scripts/plot_predictor_kernels.py"
