"""So that `snakemake` starts at the checkout's root; the workflow is workflow/Snakefile."""


include: "workflow/Snakefile"


workflow.default_target = "all"  # an included file cannot set it
