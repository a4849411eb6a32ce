"""weightspace: networks as data, from trained zoos to figures with intervals. See README.md."""

from snakemake.utils import min_version

min_version("9.12")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"


pathvars:
    results=f"results/{SCENARIO}",
    logs=f"results/{SCENARIO}/logs",
    benchmarks=f"results/{SCENARIO}/benchmarks",


report: "workflow/report/workflow.rst"


include: "workflow/rules/images.smk"
include: "workflow/rules/zoo.smk"
include: "workflow/rules/autoencoder.smk"
include: "workflow/rules/teachers.smk"
include: "workflow/rules/recovery.smk"
include: "workflow/rules/predictor.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/reference.smk"


rule all:
    default_target: True
    input:
        rules.tabulate_timings.output,
        collect("<results>/figures/{figure}.pdf", figure=[*settings.figure_names, "claims"]),
    localrule: True
