"""One rule per figure of zoos and autoencoders, each from the table of all metrics."""

FIGURES = []
if settings.zoos:
    FIGURES += ["zoo_accuracy"]
if settings.autoencoders:
    FIGURES += ["reconstruction", "collapse", "probes", "losses"]


rule plot_zoo_accuracy:
    input:
        metrics=rules.collect_metrics.output.metrics,
    output:
        pdf="<results>/figures/zoo_accuracy.pdf",
        png=report(
            "<results>/figures/zoo_accuracy.png",
            caption="../report/zoo_accuracy.rst",
            category="Zoo",
            labels={"item": "accuracy over epochs", "kind": "figure"},
        ),
    log:
        "<logs>/plot_zoo_accuracy.log",
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
        "../scripts/plot_zoo_accuracy.py"


rule plot_reconstruction:
    input:
        metrics=rules.collect_metrics.output.metrics,
    output:
        pdf="<results>/figures/reconstruction.pdf",
        png=report(
            "<results>/figures/reconstruction.png",
            caption="../report/reconstruction.rst",
            category="Autoencoder",
            labels={"item": "accuracy of reconstructions", "kind": "figure"},
        ),
    log:
        "<logs>/plot_reconstruction.log",
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
        "../scripts/plot_reconstruction.py"


rule plot_collapse:
    input:
        metrics=rules.collect_metrics.output.metrics,
    output:
        pdf="<results>/figures/collapse.pdf",
        png=report(
            "<results>/figures/collapse.png",
            caption="../report/collapse.rst",
            category="Autoencoder",
            labels={"item": "collapse controls", "kind": "figure"},
        ),
    log:
        "<logs>/plot_collapse.log",
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
        "../scripts/plot_collapse.py"


rule plot_probes:
    input:
        metrics=rules.collect_metrics.output.metrics,
    output:
        pdf="<results>/figures/probes.pdf",
        png=report(
            "<results>/figures/probes.png",
            caption="../report/probes.rst",
            category="Autoencoder",
            labels={"item": "linear probes", "kind": "figure"},
        ),
    log:
        "<logs>/plot_probes.log",
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
        "../scripts/plot_probes.py"


rule plot_losses:
    input:
        metrics=rules.collect_metrics.output.metrics,
    output:
        pdf="<results>/figures/losses.pdf",
        png=report(
            "<results>/figures/losses.png",
            caption="../report/losses.rst",
            category="Autoencoder",
            labels={"item": "training curves", "kind": "figure"},
        ),
    log:
        "<logs>/plot_losses.log",
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
        "../scripts/plot_losses.py"
