"""One rule per figure of recoveries, each from one table of the scenario."""

if settings.recoveries:
    FIGURES += ["recovery_solved", "recovery_coverage", "recovery_sizes", "recovery_clusters", "recovery_neurons"]


rule plot_recovery_solved:
    input:
        metrics=rules.collect_metrics.output.metrics,
    output:
        pdf="<results>/figures/recovery_solved.pdf",
        png=report(
            "<results>/figures/recovery_solved.png",
            caption="../report/recovery_solved.rst",
            category="Recovery",
            labels={"item": "teachers solved", "kind": "figure"},
        ),
    log:
        "<logs>/plot_recovery_solved.log",
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
        "../scripts/plot_recovery_solved.py"


rule plot_recovery_coverage:
    input:
        metrics=rules.collect_metrics.output.metrics,
    output:
        pdf="<results>/figures/recovery_coverage.pdf",
        png=report(
            "<results>/figures/recovery_coverage.png",
            caption="../report/recovery_coverage.rst",
            category="Recovery",
            labels={"item": "coverage of units", "kind": "figure"},
        ),
    log:
        "<logs>/plot_recovery_coverage.log",
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
        "../scripts/plot_recovery_coverage.py"


rule plot_recovery_sizes:
    input:
        metrics=rules.collect_metrics.output.metrics,
    output:
        pdf="<results>/figures/recovery_sizes.pdf",
        png=report(
            "<results>/figures/recovery_sizes.png",
            caption="../report/recovery_sizes.rst",
            category="Recovery",
            labels={"item": "size and error", "kind": "figure"},
        ),
    log:
        "<logs>/plot_recovery_sizes.log",
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
        "../scripts/plot_recovery_sizes.py"


rule plot_recovery_clusters:
    input:
        merges=rules.collect_metrics.output.recovery_merges,
    output:
        pdf="<results>/figures/recovery_clusters.pdf",
        png=report(
            "<results>/figures/recovery_clusters.png",
            caption="../report/recovery_clusters.rst",
            category="Recovery",
            labels={"item": "clusters of neurons", "kind": "figure"},
        ),
    log:
        "<logs>/plot_recovery_clusters.log",
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
        "../scripts/plot_recovery_clusters.py"


rule plot_recovery_neurons:
    input:
        neurons=rules.collect_metrics.output.recovery_neurons,
    output:
        pdf="<results>/figures/recovery_neurons.pdf",
        png=report(
            "<results>/figures/recovery_neurons.png",
            caption="../report/recovery_neurons.rst",
            category="Recovery",
            labels={"item": "weights of units", "kind": "figure"},
        ),
    log:
        "<logs>/plot_recovery_neurons.log",
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
        "../scripts/plot_recovery_neurons.py"
